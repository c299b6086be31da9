//! What an erring controller says.

use arbitrary::Arbitrary;
use taskyard_protocol::Incoming;
use taskyard_protocol::wire::{Flags, Head, Header, Kind};

use super::Bytes;

/// A message, in few bytes.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Wording {
    kind: u8,
    flags: u8,
    seq: u8,
    ack: u8,
    worker: u8,
    epoch: u8,
    id: u8,
    attempt: u8,
    code: u8,
    extra: u8,
    frames: Option<u8>,
    body: u8,
    cut: bool,
}

/// What is right as often as not: the number that is due, the registration that holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) number: u32,
    pub(super) worker: u32,
    pub(super) epoch: u32,
}

const KINDS: [Kind; 16] = [
    Kind::WhoAreYou,
    Kind::Welcome,
    Kind::Outcome,
    Kind::Outcome,
    Kind::Registered,
    Kind::Task,
    Kind::Task,
    Kind::Abort,
    Kind::Revoke,
    Kind::Ack,
    Kind::Evict,
    Kind::Rejected,
    Kind::Redirect,
    Kind::Drain,
    Kind::Ping,
    Kind::Notice,
];

impl Wording {
    pub(super) fn first_frame(&self, due: Due) -> Vec<u8> {
        let usual = KINDS[usize::from(self.kind % 16)];
        let kind = Kind::from_byte(self.kind.wrapping_sub(128)).unwrap_or(usual);
        let mut header = Header::new(kind);
        header.flags = Flags::from_byte(self.flags & 0xdc);
        (header.seq, header.ack) = (number(self.seq), number(self.ack));
        header.worker = right_or(self.worker, due.worker);
        header.epoch = right_or(self.epoch, due.epoch);
        header.id = number(self.id).into();
        (header.attempt, header.code) = (self.attempt % 4, self.code % 9);
        header.extra = self.extra.into();
        match kind {
            Kind::Welcome => header.ack = right_or(self.ack, due.number),
            Kind::Registered | Kind::Redirect => header.id = right_or(self.id, due.number).into(),
            Kind::Rejected => header.id = right_or(self.id, due.number).into(),
            Kind::Outcome => header.extra = u16::from(self.extra % 4) | (due.number as u16) << 8,
            _ => {}
        }
        let mut head = Head::new(&header);
        if self.flags & 0x20 != 0 {
            head = head.boot(u64::from(self.extra % 3));
        }
        if let Some(frames) = self.frames {
            head.set_frames(usize::from(frames % 3));
        }
        let body = [self.body; 12];
        let mut first = [head.as_slice(), &body[..usize::from(self.body % 12)]].concat();
        if self.cut {
            first.truncate(usize::from(self.body));
        }
        first
    }

    pub(super) fn incoming(&self) -> Incoming<Bytes> {
        match self.frames {
            None => Incoming::Alone,
            Some(frames) if frames % 3 == 1 => Incoming::Frames(Bytes::from([self.body; 8])),
            Some(_) => Incoming::Unusable,
        }
    }
}

fn right_or(byte: u8, right: u32) -> u32 {
    if byte < 160 { right } else { number(byte) }
}

/// A small number, or one at an edge.
fn number(byte: u8) -> u32 {
    match byte {
        250.. => u32::MAX - u32::from(u8::MAX - byte),
        _ => u32::from(byte % 16),
    }
}
