//! Connections that can be broken, and what is seen on them.

use std::collections::{BTreeMap, VecDeque};

use arrayvec::ArrayVec;
use taskyard_protocol::wire::{Head, Kind, Message};
use taskyard_protocol::{Incoming, Outbox, PeerKey, SendError, Side, Wire};

use super::Fault;

/// The payload of an honest task is its number, eight bytes.
pub(super) type Bytes = ArrayVec<u8, 16>;

/// One message on its way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) first: Vec<u8>,
    pub(super) rest: Rest,
}

/// What comes behind a first frame.
#[derive(Clone, Debug)]
pub(super) enum Rest {
    Nothing,
    Frame(Bytes),
    Unusable,
}

impl Packet {
    pub(super) fn new(head: &mut Head, payload: Option<Bytes>) -> Self {
        let rest = match payload {
            // Both forms travel: some payloads inline, some as a frame of their own.
            Some(payload) if payload.first().is_some_and(|byte| byte % 2 == 1) => {
                head.set_frames(1);
                Rest::Frame(payload)
            }
            Some(payload) => {
                return Self {
                    first: [head.as_slice(), &payload].concat(),
                    rest: Rest::Nothing,
                };
            }
            None => Rest::Nothing,
        };
        Self {
            first: head.as_slice().to_vec(),
            rest,
        }
    }

    pub(super) const fn probe() -> Self {
        Self {
            first: Vec::new(),
            rest: Rest::Nothing,
        }
    }

    pub(super) fn incoming(&self) -> Incoming<Bytes> {
        match &self.rest {
            Rest::Nothing => Incoming::Alone,
            Rest::Frame(payload) => Incoming::Frames(payload.clone()),
            Rest::Unusable => Incoming::Unusable,
        }
    }

    /// The number of the honest task that it carries, if it does.
    fn number(&self) -> Option<u64> {
        let bytes = match &self.rest {
            Rest::Frame(payload) => payload.as_slice(),
            _ => Message::decode(&self.first).ok()?.body,
        };
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// What an honest peer has said, until it is on a connection.
#[derive(Debug, Default)]
pub(super) struct Mouth(pub(super) VecDeque<Packet>);

impl Wire<Bytes> for Mouth {
    fn send(&mut self, head: &mut Head, payload: Option<Bytes>) -> Result<(), SendError> {
        self.0.push_back(Packet::new(head, payload));
        Ok(())
    }
}

/// One connection, seen from the controller.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) up: VecDeque<Packet>,
    pub(super) down: VecDeque<Packet>,
    pub(super) broken: bool,
    /// It means harm: what it is sent is looked at, and not kept.
    pub(super) hostile: bool,
}

/// An attempt, as it is named on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) worker: u32,
    pub(super) epoch: u32,
    pub(super) id: u64,
    pub(super) attempt: u8,
}

pub(super) type Place = (bool, PeerKey);

pub(super) const fn side_of(at_workers: bool) -> Side {
    if at_workers {
        Side::Worker
    } else {
        Side::Client
    }
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) connections: BTreeMap<Place, Connection>,
    last: u64,
    pub(super) refusals: u8,
    pub(super) refuse_with: SendError,
    /// Attempts that were named, the latest last: all that mean harm hear everything.
    pub(super) seen: VecDeque<Seen>,
    /// How often each honest task was given to somebody to be run at once.
    pub(super) starts: BTreeMap<u64, u8>,
    pub(super) fault: Option<Fault>,
}

impl Network {
    /// More are not remembered.
    const SEEN_MAX: usize = 12;

    pub(super) const fn new(fault: Option<Fault>) -> Self {
        Self {
            connections: BTreeMap::new(),
            last: 0,
            refusals: 0,
            refuse_with: SendError::Full,
            seen: VecDeque::new(),
            starts: BTreeMap::new(),
            fault,
        }
    }

    pub(super) fn connect(&mut self, at_workers: bool, hostile: bool) -> Place {
        self.last += 1;
        let place = (at_workers, PeerKey(self.last));
        let connection = Connection {
            hostile,
            ..Connection::default()
        };
        self.connections.insert(place, connection);
        place
    }

    pub(super) fn at(&mut self, place: Place) -> &mut Connection {
        self.connections.entry(place).or_default()
    }

    /// Connections that have something for the controller.
    pub(super) fn ready(&self) -> Vec<Place> {
        let ready = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.broken || !connection.up.is_empty());
        ready.map(|(&place, _)| place).collect()
    }

    fn note(&mut self, packet: &Packet) {
        let message = Message::decode(&packet.first);
        let header = message
            .expect("the controller's messages are of its version")
            .header;
        if matches!(
            header.kind,
            Kind::Task | Kind::Registered | Kind::Abort | Kind::Revoke
        ) {
            let seen = Seen {
                worker: header.worker,
                epoch: header.epoch,
                id: header.id,
                attempt: header.attempt,
            };
            self.seen.push_back(seen);
            if self.seen.len() > Self::SEEN_MAX {
                self.seen.pop_front();
            }
        }
        let ahead = header.flags.has(taskyard_protocol::wire::Flags::AHEAD);
        if header.kind == Kind::Task
            && !ahead
            && let Some(number) = packet.number()
        {
            let starts = self.starts.entry(number).or_default();
            *starts = starts.saturating_add(1);
        }
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
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(self.refuse_with);
        }
        let place = (side == Side::Worker, peer);
        if !self.connections.contains_key(&place) {
            return Err(SendError::Unreachable);
        }
        let packet = Packet::new(head, payload);
        self.note(&packet);
        let is_outcome = packet.first.get(1) == Some(&Kind::Outcome.to_byte());
        let fault = self.fault.filter(|_| is_outcome);
        let connection = self.at(place);
        if connection.broken || connection.hostile || fault == Some(Fault::Swallow) {
            return Ok(());
        }
        if fault == Some(Fault::Mistake) {
            let mut wrong = packet.clone();
            wrong.first[16] ^= 1;
            connection.down.push_back(wrong);
        }
        connection.down.push_back(packet);
        Ok(())
    }

    fn close(&mut self, _side: Side, _peer: PeerKey) {
        // Like libzmq, which cannot close one connection of a ROUTER.
    }
}
