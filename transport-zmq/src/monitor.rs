//! A socket's monitor: which connections are gone, and how many were never let in.
//!
//! The events go out through a *blocking* send in libzmq's I/O thread: one that nobody drains, over
//! a pipe with a limit, stops all connections of the context for good. So the pipe has none here,
//! only ends are subscribed to, and the shard drains it in its loop.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;
use crate::sys::{Context, Frame, Socket};

const DISCONNECTED: u16 = zmq::SocketEvent::DISCONNECTED as u16;
const FAILED: [u16; 3] = [
    zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16,
    zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16,
    zmq::SocketEvent::HANDSHAKE_FAILED_AUTH as u16,
];

/// What a monitor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The connection of this descriptor is gone. libzmq tells of it before it closes the
    /// descriptor, so before anyone else can have that number.
    Disconnected(c_int),
    /// A connection ended before it was let in.
    HandshakeFailed,
}

/// The reading end of one socket's monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    events: Socket,
    frame: Frame,
}

impl Monitor {
    /// Watches `socket`.
    pub(crate) fn attach(context: &Context, socket: &Socket) -> Result<Self, Error> {
        /// Names of inproc endpoints are unique in a context; these are in the process.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = format!("inproc://taskyard-monitor-{number}");
        let failed = |error| Error::zmq("attaching a monitor", error);
        let wanted = FAILED.iter().fold(DISCONNECTED, |all, event| all | event);
        let wanted = i32::from(wanted);
        socket.options().monitor(&address, wanted).map_err(failed)?;
        let events = context.socket(zmq::SocketType::PAIR)?;
        // Before the connect: an inproc pipe gets its limits there.
        events.options().set_rcvhwm(0).map_err(failed)?;
        events.options().set_linger(0).map_err(failed)?;
        events.options().connect(&address).map_err(failed)?;
        Ok(Self {
            events,
            frame: Frame::new(),
        })
    }

    /// Its descriptor, for polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.events.fd()
    }

    /// What it tells next, if there is something now.
    pub(crate) fn poll(&mut self) -> Result<Option<Seen>, Error> {
        // Two frames each: event and value, then the endpoint.
        while self.events.recv(&mut self.frame)? {
            let parsed = parse_event(self.frame.bytes());
            while self.frame.more() && self.events.recv(&mut self.frame)? {}
            match parsed {
                Some((DISCONNECTED, fd)) => return Ok(Some(Seen::Disconnected(fd))),
                Some((event, _)) if FAILED.contains(&event) => {
                    return Ok(Some(Seen::HandshakeFailed));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The number of an event, and its value.
fn parse_event(frame: &[u8]) -> Option<(u16, c_int)> {
    let (event, rest) = frame.split_first_chunk::<2>()?;
    let value = rest.first_chunk::<4>()?;
    Some((u16::from_ne_bytes(*event), c_int::from_ne_bytes(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_apart() {
        let mut frame = 0x200u16.to_ne_bytes().to_vec();
        frame.extend(17i32.to_ne_bytes());
        assert_eq!(parse_event(&frame), Some((0x200, 17)));
        assert_eq!(parse_event(&frame[..5]), None);
    }
}
