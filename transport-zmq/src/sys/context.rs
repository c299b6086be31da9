//! A libzmq context: its I/O threads, and how many sockets it may have.

use std::ffi::c_int;
use std::os::raw::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Socket, interrupted, last_error};
use crate::Error;
use crate::security::Zap;

/// What a [`Context`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextOptions {
    /// Threads that move bytes; a second one costs more than it gives below some Gbit/s.
    pub io_threads: u16,
    /// Sockets at once: not connections, of which a ROUTER has any number.
    pub sockets_max: u16,
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            io_threads: 1,
            sockets_max: 1023,
        }
    }
}

/// The I/O threads that sockets share; a cheap handle, the last one ends them.
///
/// ```
/// use taskyard_zmq::{Context, ContextOptions};
/// let context = Context::new(ContextOptions { sockets_max: 5000, ..ContextOptions::default() })?;
/// assert_eq!(context.sockets_max(), 5000);
/// # Ok::<(), taskyard_zmq::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    raw: Arc<RawContext>,
    /// libzmq asks one doorkeeper for all sockets.
    zap: Arc<Mutex<Weak<Zap>>>,
}

#[derive(Debug)]
struct RawContext(NonNull<c_void>);

// SAFETY: libzmq documents a context as thread safe; only sockets are not.
unsafe impl Send for RawContext {}
// SAFETY: as above.
unsafe impl Sync for RawContext {}

impl Drop for RawContext {
    fn drop(&mut self) {
        // Every socket holds a handle of its context, so all are closed by now, and this waits only
        // for what they linger.
        // SAFETY: the pointer came from `zmq_ctx_new`, and nobody else can have it any more.
        while unsafe { zmq_sys::zmq_ctx_term(self.0.as_ptr()) } == -1 && interrupted(last_error()) {
        }
    }
}

impl Context {
    /// Makes a context; its threads start with its first socket.
    ///
    /// # Errors
    /// If libzmq has no memory or descriptors left, or refuses one of the numbers.
    pub fn new(options: ContextOptions) -> Result<Self, Error> {
        // SAFETY: has no precondition; null says that it failed.
        let raw = NonNull::new(unsafe { zmq_sys::zmq_ctx_new() })
            .ok_or_else(|| Error::zmq("making a context", last_error()))?;
        let context = Self {
            raw: Arc::new(RawContext(raw)),
            zap: Arc::default(),
        };
        context.set(zmq_sys::ZMQ_IO_THREADS, options.io_threads)?;
        context.set(zmq_sys::ZMQ_MAX_SOCKETS, options.sockets_max)?;
        Ok(context)
    }

    /// How many sockets it may have at once.
    #[must_use]
    pub fn sockets_max(&self) -> usize {
        // SAFETY: the pointer is a live context; an unknown option only returns -1.
        let value =
            unsafe { zmq_sys::zmq_ctx_get(self.raw.0.as_ptr(), zmq_sys::ZMQ_MAX_SOCKETS as c_int) };
        usize::try_from(value).unwrap_or(0)
    }

    /// The doorkeeper, if it is there.
    pub(crate) fn zap(&self) -> MutexGuard<'_, Weak<Zap>> {
        // A handle is whole even if a thread died while it held the lock.
        self.zap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a socket.
    pub(crate) fn socket(&self, kind: zmq::SocketType) -> Result<Socket, Error> {
        let kind = match kind {
            zmq::SocketType::DEALER => zmq_sys::ZMQ_DEALER,
            zmq::SocketType::PAIR => zmq_sys::ZMQ_PAIR,
            zmq::SocketType::ROUTER => zmq_sys::ZMQ_ROUTER,
            other => unreachable!("this crate makes no {other:?} sockets"),
        };
        // SAFETY: the pointer is a live context; null says that it failed.
        let raw = unsafe { zmq_sys::zmq_socket(self.raw.0.as_ptr(), kind as c_int) };
        let raw = NonNull::new(raw).ok_or_else(|| match last_error() {
            zmq::Error::EMFILE => Error::SocketsFull {
                sockets_max: self.sockets_max(),
            },
            error => Error::zmq("making a socket", error),
        })?;
        // SAFETY: just made, and given to nobody else.
        Ok(unsafe { Socket::from_raw(raw, self.clone()) })
    }

    fn set(&self, option: u32, value: u16) -> Result<(), Error> {
        // SAFETY: the pointer is a live context; a value it does not like only returns -1.
        let code = unsafe {
            zmq_sys::zmq_ctx_set(self.raw.0.as_ptr(), option as c_int, c_int::from(value))
        };
        if code == 0 {
            Ok(())
        } else {
            Err(Error::zmq("setting up a context", last_error()))
        }
    }
}
