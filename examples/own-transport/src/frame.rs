//! The toy's whole protocol: every message is one frame of 44 bytes.

use std::io::{self, Read, Write};

use arrayvec::ArrayVec;

/// A payload: up to 32 bytes.
pub(crate) type Bytes = ArrayVec<u8, 32>;

/// Bytes of a frame.
pub(crate) const FRAME_LEN: usize = 44;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Client: I am one.
    Hello = 1,
    /// Worker: I am one; the payload is its name.
    Register = 2,
    /// Client: a task for any worker.
    Submit = 3,
    /// Controller, to a worker: run this.
    Task = 4,
    /// Worker: it ran.
    Result = 5,
    /// Controller, to a client: how it ended.
    Outcome = 6,
    /// Controller, to a client: go ahead.
    Welcome = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Hello,
        Self::Register,
        Self::Submit,
        Self::Task,
        Self::Result,
        Self::Outcome,
        Self::Welcome,
    ];
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// Of an outcome: whether it completed.
    pub(crate) ok: bool,
    pub(crate) attempt: u8,
    /// Towards clients their number of the task, towards workers the handle.
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(crate) fn new(kind: Kind, number: u64, payload: &[u8]) -> Self {
        let payload = payload.iter().copied().take(32).collect();
        Self {
            kind,
            ok: true,
            attempt: 0,
            number,
            payload,
        }
    }

    pub(crate) fn encode(&self) -> [u8; FRAME_LEN] {
        let mut bytes = [0; FRAME_LEN];
        bytes[0] = self.kind as u8;
        bytes[1] = u8::from(self.ok);
        bytes[2] = self.attempt;
        bytes[3] = self.payload.len() as u8;
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..12 + self.payload.len()].copy_from_slice(&self.payload);
        bytes
    }

    /// Nothing if the bytes are no frame: the sender's fault.
    pub(crate) fn decode(bytes: &[u8; FRAME_LEN]) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[0])?;
        let payload = Bytes::try_from(bytes.get(12..12 + usize::from(bytes[3]))?).ok()?;
        let number = u64::from_le_bytes(bytes[4..12].try_into().ok()?);
        Some(Self {
            kind,
            ok: bytes[1] != 0,
            attempt: bytes[2],
            number,
            payload,
        })
    }

    /// For the peers, which may block.
    pub(crate) fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.encode())
    }

    /// For the peers, which may block.
    pub(crate) fn receive(stream: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; FRAME_LEN];
        stream.read_exact(&mut bytes)?;
        Self::decode(&bytes).ok_or_else(|| io::Error::other("the controller sent nonsense"))
    }
}
