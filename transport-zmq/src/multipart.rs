//! Whole messages: a first frame, and the payload in it or behind it.

use taskyard_dispatcher::Payload;
use taskyard_protocol::wire::{FRAMES_MAX, Head};

use crate::Error;
use crate::message::ZmqPayload;
use crate::sys::{Frame, SendRefused, Socket};

/// Payloads of one frame up to this size travel in the first frame: up to here a copy is cheaper
/// than what a second frame costs at four places (each send and each receive, both ways).
pub(crate) const INLINE_ON_WIRE_MAX: usize = 2048;

/// A received message.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Its first frame (behind the routing id, where there is one).
    pub(crate) first: Frame,
    /// The following frames; one more than allowed if there were too many.
    pub(crate) rest: Vec<Frame>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            first: Frame::new(),
            rest: Vec::new(),
        }
    }

    /// Receives a message; `false` if there is none.
    pub(crate) fn recv(&mut self, socket: &mut Socket) -> Result<bool, Error> {
        self.rest.clear();
        if !socket.recv(&mut self.first)? {
            return Ok(false);
        }
        if self.first.more() {
            self.recv_rest(socket)?;
        }
        Ok(true)
    }

    /// No option of libzmq bounds the number of frames in a message: what is too much is not kept.
    fn recv_rest(&mut self, socket: &mut Socket) -> Result<(), Error> {
        loop {
            let mut frame = Frame::new();
            if !socket.recv(&mut frame)? {
                return Ok(());
            }
            let more = frame.more();
            if self.rest.len() <= FRAMES_MAX {
                self.rest.push(frame);
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Sends a message, or refuses it whole.
pub(crate) fn send(
    socket: &mut Socket,
    head: &mut Head,
    payload: Option<&ZmqPayload>,
) -> Result<(), SendRefused> {
    match payload {
        None => socket.send_bytes(head.as_slice(), false),
        Some(payload) => match payload.bytes() {
            Some(bytes) if bytes.len() <= INLINE_ON_WIRE_MAX => {
                socket.send(&mut Frame::concat(head.as_slice(), bytes), false)
            }
            _ => send_frames(socket, head, payload),
        },
    }
}

fn send_frames(
    socket: &mut Socket,
    head: &mut Head,
    payload: &ZmqPayload,
) -> Result<(), SendRefused> {
    let count = payload.frame_count();
    head.set_frames(count);
    socket.send_bytes(head.as_slice(), true)?;
    let mut result = Ok(());
    for i in 0..count {
        let mut frame = payload.to_frame(i).unwrap_or_else(Frame::new);
        // A connection that is lost between two frames drops the message. The others are sent all
        // the same: libzmq swallows them, and would otherwise swallow the next message in their
        // place.
        result = result.and(socket.send(&mut frame, i + 1 < count));
    }
    result
}
