//! A controller and its peers in one thread, with a network between them that a test can break.
//!
//! The controller is real: dispatcher, port and sessions. The network behaves like libzmq's. A new
//! connection starts with an empty message. When one breaks, a part of what was on its way arrives,
//! late perhaps, a part is lost, and what the sender had not yet given to the network may go out on
//! the next connection. The notice that a connection is gone comes after everything else that it
//! carried, and possibly after messages of the connection that follows it. Messages to a connection
//! that is broken but not yet known to be are accepted and lost.

// Each test binary uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, VecDeque};

use arrayvec::ArrayVec;
use taskyard_core::{Config, Instant};
use taskyard_dispatcher::{Dispatcher, Payload, Port, ThreadParker};
use taskyard_protocol::wire::{Head, Header, Message};
use taskyard_protocol::{
    Authority, Incoming, Outbox, PeerKey, SendError, SessionOptions, Sessions, Side, Wire,
};

pub type Bytes = ArrayVec<u8, 64>;

/// The boot id of the controller under test.
pub const BOOT: u64 = 0xb007;

/// One message on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    pub first: Vec<u8>,
    pub frames: Option<Bytes>,
}

impl Packet {
    pub fn probe() -> Self {
        Self {
            first: Vec::new(),
            frames: None,
        }
    }

    /// Payloads of even length travel inline, the others as a frame of their own.
    pub fn new(head: &mut Head, payload: Option<Bytes>) -> Self {
        match payload {
            Some(payload) if payload.len() % 2 == 1 => {
                head.set_frames(payload.frame_count());
                Self {
                    first: head.as_slice().to_vec(),
                    frames: Some(payload),
                }
            }
            Some(payload) => Self {
                first: [head.as_slice(), &payload].concat(),
                frames: None,
            },
            None => Self {
                first: head.as_slice().to_vec(),
                frames: None,
            },
        }
    }

    pub fn incoming(&self) -> Incoming<Bytes> {
        self.frames
            .clone()
            .map_or(Incoming::Alone, Incoming::Frames)
    }

    pub fn message(&self) -> Message<'_> {
        Message::decode(&self.first).expect("the controller's messages can be decoded")
    }

    pub fn header(&self) -> Header {
        self.message().header
    }
}

/// A client or a worker writes here.
#[derive(Debug, Default)]
pub struct Sent(pub VecDeque<Packet>);

impl Wire<Bytes> for Sent {
    fn send(&mut self, head: &mut Head, payload: Option<Bytes>) -> Result<(), SendError> {
        self.0.push_back(Packet::new(head, payload));
        Ok(())
    }
}

/// One connection, seen from the controller.
#[derive(Debug, Default)]
struct Connection {
    /// On its way to the controller.
    up: VecDeque<Packet>,
    /// On its way to the peer.
    down: VecDeque<Packet>,
    /// Nothing more gets through; the notice comes when `up` is empty.
    broken: bool,
}

type Connections = BTreeMap<(u8, PeerKey), Connection>;

#[derive(Debug, Default)]
pub struct Network {
    connections: Connections,
    last: u64,
    /// The next send to a peer fails with this.
    pub refuse: Option<SendError>,
    /// Clients that have come in as operators.
    pub operators: Vec<PeerKey>,
}

const fn side_index(side: Side) -> u8 {
    match side {
        Side::Client => 0,
        Side::Worker => 1,
    }
}

const fn side_at(index: u8) -> Side {
    if index == 0 {
        Side::Client
    } else {
        Side::Worker
    }
}

impl Network {
    /// A new connection, not greeted by a probe.
    pub fn connect(&mut self, side: Side) -> PeerKey {
        self.last += 1;
        let peer = PeerKey(self.last);
        self.connections
            .insert((side_index(side), peer), Connection::default());
        peer
    }

    pub fn push(&mut self, side: Side, peer: PeerKey, packet: Packet) {
        self.connection(side, peer).up.push_back(packet);
    }

    pub fn pop(&mut self, side: Side, peer: PeerKey) -> Option<Packet> {
        self.connection(side, peer).down.pop_front()
    }

    /// Breaks a connection: of what is on its way up, the first `arrive` still arrive, the last
    /// `kept` are handed back, the rest is lost. What is on its way down is handed back up to
    /// `down` messages.
    pub fn cut(
        &mut self,
        side: Side,
        peer: PeerKey,
        (arrive, kept, down): (usize, usize, usize),
    ) -> (VecDeque<Packet>, VecDeque<Packet>) {
        let connection = self.connection(side, peer);
        connection.broken = true;
        let behind = connection
            .up
            .split_off(connection.up.len() - kept.min(connection.up.len()));
        connection.up.truncate(arrive);
        connection.down.truncate(down);
        (behind, std::mem::take(&mut connection.down))
    }

    /// Connections that have something for the controller.
    pub fn ready(&self) -> Vec<(Side, PeerKey)> {
        let ready = self
            .connections
            .iter()
            .filter(|(_, c)| c.broken || !c.up.is_empty());
        ready
            .map(|(&(side, peer), _)| (side_at(side), peer))
            .collect()
    }

    fn connection(&mut self, side: Side, peer: PeerKey) -> &mut Connection {
        self.connections
            .get_mut(&(side_index(side), peer))
            .expect("a connection of the test")
    }
}

impl Outbox<Bytes> for Network {
    fn send(
        &mut self,
        side: Side,
        peer: PeerKey,
        head: &mut Head,
        payload: Option<Bytes>,
    ) -> Result<(), SendError> {
        if let Some(error) = self.refuse.take() {
            return Err(error);
        }
        let connection = self.connections.get_mut(&(side_index(side), peer));
        let connection = connection.ok_or(SendError::Unreachable)?;
        if !connection.broken {
            connection.down.push_back(Packet::new(head, payload));
        }
        Ok(())
    }

    fn close(&mut self, _side: Side, _peer: PeerKey) {
        // Like libzmq, which cannot close one connection of a ROUTER.
    }

    fn authority(&self, side: Side, peer: PeerKey) -> Authority {
        if side == Side::Client && self.operators.contains(&peer) {
            Authority::All
        } else {
            Authority::Own
        }
    }
}

/// The controller: dispatcher, port and sessions, driven by hand.
#[derive(Debug)]
pub struct Controller {
    pub dispatcher: Dispatcher<Bytes>,
    pub port: Port<Bytes>,
    pub sessions: Sessions<Bytes>,
    pub network: Network,
    pub now: Instant,
}

impl Controller {
    pub fn new() -> Self {
        Self::with(small_config(), SessionOptions::new(BOOT))
    }

    pub fn with(config: Config, options: SessionOptions) -> Self {
        let parker = ThreadParker::new();
        let mut dispatcher = Dispatcher::new(config, parker.unparker()).expect("a sane config");
        let port = dispatcher.attach(parker.unparker()).expect("a first port");
        Self {
            dispatcher,
            port,
            sessions: Sessions::new(options),
            network: Network::default(),
            now: Instant(1),
        }
    }

    /// Reads one message, or the notice that a connection is gone.
    pub fn read(&mut self, side: Side, peer: PeerKey) {
        if !self.port.has_room(Sessions::<Bytes>::ROOM) {
            return;
        }
        let connection = self.network.connection(side, peer);
        if let Some(packet) = connection.up.pop_front() {
            let Self {
                sessions,
                port,
                network,
                ..
            } = self;
            let incoming = packet.incoming();
            sessions.handle_message(side, peer, &packet.first, incoming, port, network);
        } else if connection.broken {
            self.network.connections.remove(&(side_index(side), peer));
            self.sessions.handle_peer_gone(side, peer, &mut self.port);
        }
        self.port.flush();
    }

    /// One duty cycle, then everything that it has for the peers.
    pub fn work(&mut self) {
        self.now = Instant(self.now.0 + 50_000);
        self.dispatcher.run_once(self.now);
        let Self {
            sessions,
            port,
            network,
            ..
        } = self;
        while let Some(reply) = port.poll_reply() {
            sessions.handle_reply(reply, port, network);
        }
        while let Some(delivery) = port.poll_delivery() {
            sessions.handle_delivery(delivery, port, network);
        }
        sessions.settle(port);
        port.flush();
    }

    /// Reads and works until nothing is left to read.
    pub fn run(&mut self) {
        loop {
            for _ in 0..8 {
                self.work();
            }
            let ready = self.network.ready();
            if ready.is_empty() {
                return;
            }
            for (side, peer) in ready {
                self.read(side, peer);
            }
        }
    }

    /// Sends a packet as a peer, lets the controller work, and returns its answers.
    pub fn exchange(&mut self, side: Side, peer: PeerKey, packet: Packet) -> Vec<Packet> {
        self.network.push(side, peer, packet);
        self.run();
        self.answers(side, peer)
    }

    pub fn answers(&mut self, side: Side, peer: PeerKey) -> Vec<Packet> {
        std::iter::from_fn(|| self.network.pop(side, peer)).collect()
    }
}

pub fn small_config() -> Config {
    Config {
        tasks: 1 << 12,
        clients: 8,
        workers: 1 << 10,
        ports: 4,
        ..Config::default()
    }
}

/// Numbers that a seed determines: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
