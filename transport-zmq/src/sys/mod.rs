//! libzmq as this crate uses it: a context whose limits can be set, sockets that never wait, and
//! frames that stay with their owner until they are truly sent. All `unsafe` of the crate is in
//! this folder, and only for calls into C.

mod context;
mod curve;
mod frame;
mod memory;
mod socket;

pub use context::{Context, ContextOptions};
pub(crate) use curve::curve_public;
pub(crate) use frame::{Frame, SharedFrame};
pub(crate) use memory::give_back;
pub(crate) use socket::{SendRefused, Socket};

/// Whether a call was interrupted by a signal, and only has to be made again.
fn interrupted(error: zmq::Error) -> bool {
    error == zmq::Error::EINTR
}

/// What the last call of this thread into libzmq failed with.
fn last_error() -> zmq::Error {
    // SAFETY: reads a thread-local number, and has no precondition.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}
