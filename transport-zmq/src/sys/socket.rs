//! A socket that never waits: each call either does its work now or says that it cannot.

use std::ffi::c_int;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::raw::c_void;
use std::ptr::NonNull;

use super::{Context, Frame, interrupted, last_error};
use crate::Error;

const DONTWAIT: c_int = zmq_sys::ZMQ_DONTWAIT as c_int;
const SNDMORE: c_int = zmq_sys::ZMQ_SNDMORE as c_int;

/// A socket, closed when it is dropped.
pub(crate) struct Socket {
    raw: NonNull<c_void>,
    /// The same socket, for the safe setters of the `zmq` package; closes it when dropped.
    options: zmq::Socket,
    fd: RawFd,
    /// After the socket, so dropped after it: a context that ends waits for its sockets.
    _context: Context,
}

// SAFETY: libzmq lets a socket move to another thread with a full fence in between, which every way
// of moving a value in Rust has; it is not `Sync`.
unsafe impl Send for Socket {}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendRefused {
    /// The peer takes no more for now.
    Full,
    /// There is no such peer, or none at all.
    Unreachable,
}

impl Socket {
    /// Owns a raw socket.
    ///
    /// # Safety
    /// `raw` is a live socket of `context`, and nobody else uses or closes it.
    pub(super) unsafe fn from_raw(raw: NonNull<c_void>, context: Context) -> Self {
        // SAFETY: a live socket that we own, by the contract of this function.
        let options = unsafe { zmq::Socket::from_raw(raw.as_ptr()) };
        let fd = options.as_raw_fd();
        Self {
            raw,
            options,
            fd,
            _context: context,
        }
    }

    /// The setters and getters.
    pub(crate) fn options(&self) -> &zmq::Socket {
        &self.options
    }

    /// Sets an option that the `zmq` package has no name for.
    pub(crate) fn set_raw(&mut self, option: c_int, value: c_int) -> Result<(), zmq::Error> {
        // SAFETY: the socket is live, and the value has the size that is said.
        let code = unsafe {
            zmq_sys::zmq_setsockopt(
                self.raw.as_ptr(),
                option,
                (&raw const value).cast(),
                size_of::<c_int>(),
            )
        };
        if code == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// The descriptor that turns readable when there may be something to do. It is only for
    /// polling, and only edges count: after *every* call on this socket it says nothing until
    /// [`recv`](Self::recv) has answered that there is nothing.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket owns the descriptor, and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Receives one frame; `false` if there is none.
    ///
    /// Frames of one message arrive together: after a first frame with more, the next ones are
    /// there.
    pub(crate) fn recv(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        loop {
            // SAFETY: socket and frame are live; the frame's old bytes are released by the call.
            let code =
                unsafe { zmq_sys::zmq_msg_recv(frame.as_mut_ptr(), self.raw.as_ptr(), DONTWAIT) };
            if code >= 0 {
                return Ok(true);
            }
            match last_error() {
                zmq::Error::EAGAIN => return Ok(false),
                error if interrupted(error) => {}
                error => return Err(Error::zmq("receiving", error)),
            }
        }
    }

    /// Sends one frame; it is empty afterwards if it was taken, and unchanged otherwise.
    pub(crate) fn send(&mut self, frame: &mut Frame, more: bool) -> Result<(), SendRefused> {
        // SAFETY: socket and frame are live.
        self.until_sent(more, |raw, flags| unsafe {
            zmq_sys::zmq_msg_send(frame.as_mut_ptr(), raw, flags)
        })
    }

    /// Sends a copy of some bytes as one frame.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8], more: bool) -> Result<(), SendRefused> {
        // SAFETY: the socket is live, and the bytes have the length that is said.
        self.until_sent(more, |raw, flags| unsafe {
            zmq_sys::zmq_send(raw, bytes.as_ptr().cast(), bytes.len(), flags)
        })
    }

    fn until_sent(
        &mut self,
        more: bool,
        mut send: impl FnMut(*mut c_void, c_int) -> c_int,
    ) -> Result<(), SendRefused> {
        let flags = if more { DONTWAIT | SNDMORE } else { DONTWAIT };
        loop {
            if send(self.raw.as_ptr(), flags) >= 0 {
                return Ok(());
            }
            match last_error() {
                zmq::Error::EAGAIN => return Err(SendRefused::Full),
                error if interrupted(error) => {}
                // EHOSTUNREACH; and whatever else stops a send (a context that ends) stops all of
                // them.
                _ => return Err(SendRefused::Unreachable),
            }
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}
