//! The other ends of the sessions: what a program on another host runs, without its socket.
//!
//! A [`ClientState`] or [`WorkerState`] is fed with each message that arrives and writes its own to
//! a [`Wire`](crate::Wire). It keeps what a broken connection could lose (tasks without an outcome,
//! results without an acknowledgement) and sends it again on the next one. It neither knows nor
//! needs to know when a connection breaks: the controller asks each new one *who are you?*, and
//! that is the sign.

mod client;
mod worker;

pub use client::{ClientEvent, ClientState, Repeats, SubmitError};
pub use worker::{Assignment, WorkerEvent, WorkerProfile, WorkerState};

use taskyard_dispatcher::Payload;

use crate::peer::{FromInline, Incoming, payload_len};
use crate::wire::{Flags, Header, Message, WireError};

/// A message from the controller; `None` for a kind that only later peers know, which is no
/// mistake.
fn read_known(first_frame: &[u8]) -> Result<Option<Message<'_>>, WireError> {
    match Message::decode(first_frame) {
        Ok(message) => Ok(Some(message)),
        Err(WireError::Kind(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The payload of a message from the controller, if it has one.
fn read_payload<P: FromInline>(
    message: &Message<'_>,
    incoming: Incoming<P>,
) -> Result<Option<P>, WireError> {
    match incoming {
        Incoming::Alone if message.header.flags.has(Flags::NO_PAYLOAD) => Ok(None),
        Incoming::Alone if message.header.frames == 0 => P::from_inline(message.body)
            .map(Some)
            .ok_or(WireError::Body),
        Incoming::Frames(payload) if payload.frame_count() == message.header.frames.into() => {
            Ok(Some(payload))
        }
        _ => Err(WireError::Body),
    }
}

/// All bytes of what should be one frame of a few.
fn payload_bytes<P: Payload>(payload: Option<&P>) -> Vec<u8> {
    let frames = payload.into_iter().flat_map(|payload| {
        (0..payload.frame_count()).filter_map(|frame| Payload::frame(payload, frame))
    });
    frames.flatten().copied().collect()
}

/// The largest payload that the controller takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PayloadMax(u32);

impl PayloadMax {
    /// What a welcome or the answer to a registration says; 0 there says nothing.
    const fn told_by(header: &Header) -> Self {
        match header.seq {
            0 => Self(u32::MAX),
            told => Self(told),
        }
    }

    fn is_exceeded_by<P: Payload>(self, payload: &P) -> bool {
        payload_len(payload) > self.0 as usize
    }
}

/// Where a client or worker stands with its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing<T> {
    /// Not asked who it is yet, or refused, or sent away.
    Stranger,
    /// To introduce itself, as soon as the wire takes it.
    Due,
    /// It has introduced itself, and waits for the answer.
    Awaiting,
    /// It has a session or registration.
    Up(T),
    /// It has left for good.
    Left,
}
