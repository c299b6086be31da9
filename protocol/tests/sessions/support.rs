//! Packets to say things with, and what comes back.

pub(crate) use crate::common::{BOOT, Bytes, Controller, Packet, Random, small_config};
pub(crate) use taskyard_core::{Config, Outcome, Refusal};
pub(crate) use taskyard_protocol::wire::{Flags, Head, Header, Kind};
pub(crate) use taskyard_protocol::{
    PeerKey, Rejection, SendError, SessionOptions, Side, read_outcome, refusal_to_extra,
};

pub(crate) const CLIENT: Side = Side::Client;
pub(crate) const WORKER: Side = Side::Worker;

pub(crate) fn packet(header: Header, payload: Option<&[u8]>) -> Packet {
    Packet::new(
        &mut Head::new(&header),
        payload.map(|bytes| Bytes::try_from(bytes).unwrap()),
    )
}

pub(crate) fn bare(kind: Kind) -> Packet {
    packet(Header::new(kind), None)
}

pub(crate) fn hello(key: u8, session: u32) -> Packet {
    let mut header = Header::new(Kind::ClientHello);
    header.seq = session;
    Packet::new(&mut Head::new(&header).body(&[key; 16]), None)
}

pub(crate) fn submit_header(seq: u32, task: u64) -> Header {
    let mut header = Header::new(Kind::Submit);
    (header.seq, header.id) = (seq, task);
    header
}

pub(crate) fn submit(seq: u32, task: u64) -> Packet {
    packet(submit_header(seq, task), Some(b"in"))
}

pub(crate) fn ack(number: u32) -> Packet {
    let mut header = Header::new(Kind::Ack);
    header.ack = number;
    packet(header, None)
}

pub(crate) fn register_header(instance: u64, number: u32) -> Header {
    let mut header = Header::new(Kind::Register);
    (header.seq, header.id, header.extra) = (number, instance, 1);
    header
}

pub(crate) fn register(name: &str, instance: u64, number: u32) -> Packet {
    Packet::new(
        &mut Head::new(&register_header(instance, number)).name(name),
        None,
    )
}

/// The result of a task: `task` is the header of the message that brought it.
pub(crate) fn result_of(task: &Header, seq: u32) -> Header {
    Header {
        kind: Kind::Result,
        seq,
        ack: 0,
        frames: 0,
        // Where the task comes from is said only to a controller that does not know.
        flags: Flags::HAS_WORKER,
        ..*task
    }
}

pub(crate) fn kinds(packets: &[Packet]) -> Vec<Kind> {
    packets.iter().map(|packet| packet.header().kind).collect()
}

pub(crate) fn outcomes(packets: &[Packet]) -> Vec<(u64, Outcome)> {
    let headers = packets.iter().map(Packet::header);
    let outcomes = headers.filter(|header| header.kind == Kind::Outcome);
    outcomes
        .map(|header| (header.id, read_outcome(&header).unwrap().0))
        .collect()
}

pub(crate) fn rejection(packets: &[Packet]) -> Option<Rejection> {
    let header = packets.last()?.header();
    (header.kind == Kind::Rejected).then(|| Rejection::from_code(header.code))
}

impl Controller {
    pub(crate) fn client(&mut self, key: u8) -> PeerKey {
        let peer = self.network.connect(CLIENT);
        assert_eq!(
            kinds(&self.exchange(CLIENT, peer, hello(key, 1))),
            [Kind::Welcome]
        );
        peer
    }

    pub(crate) fn worker(&mut self, name: &str, instance: u64) -> (PeerKey, Header) {
        let peer = self.network.connect(WORKER);
        let answers = self.exchange(WORKER, peer, register(name, instance, 1));
        assert_eq!(kinds(&answers), [Kind::Registered]);
        (peer, answers[0].header())
    }

    /// The one task that a worker was sent.
    pub(crate) fn task(&mut self, worker: PeerKey) -> Header {
        let packets = self.answers(WORKER, worker);
        assert_eq!(kinds(&packets), [Kind::Task]);
        packets[0].header()
    }

    /// Breaks a connection without loss and lets the controller hear of it.
    pub(crate) fn disconnect(&mut self, side: Side, peer: PeerKey) {
        self.network.cut(side, peer, (usize::MAX, 0, 0));
        self.run();
    }
}
