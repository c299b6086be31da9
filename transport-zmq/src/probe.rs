//! What the linked libzmq can do, asked at run time: it may have been built with other flags than
//! ours.

use std::ffi::c_int;
use std::fmt;

use crate::sys::{Context, Socket};
use crate::{ContextOptions, Error};

/// `ZMQ_ROUTER_NOTIFY` of the draft API.
const ROUTER_NOTIFY: c_int = 97;
/// `ZMQ_NOTIFY_DISCONNECT`.
const NOTIFY_DISCONNECT: c_int = 2;

/// What the linked libzmq can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibzmqFeatures {
    /// Its version.
    pub version: (i32, i32, i32),
    /// A ROUTER can tell in-band that a peer is gone (draft API); the socket's monitor does it
    /// otherwise.
    pub router_notify: bool,
    /// Wake-ups by eventfd, one descriptor and cheap; a socket pair otherwise.
    pub eventfd: bool,
    /// `ipc://` endpoints.
    pub ipc: bool,
    /// CURVE security.
    pub curve: bool,
}

impl LibzmqFeatures {
    /// Asks the linked library.
    ///
    /// # Errors
    /// If not even a socket can be made.
    pub fn probe() -> Result<Self, Error> {
        let context = Context::new(ContextOptions::default())?;
        let mut socket = context.socket(zmq::SocketType::ROUTER)?;
        Ok(Self {
            version: zmq::version(),
            router_notify: enable_router_notify(&mut socket),
            eventfd: signals_by_eventfd(&socket),
            ipc: zmq::has("ipc").unwrap_or(false),
            curve: zmq::has("curve").unwrap_or(false),
        })
    }
}

impl fmt::Display for LibzmqFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "libzmq {major}.{minor}.{patch}")?;
        for (name, has) in [
            ("router-notify", self.router_notify),
            ("eventfd", self.eventfd),
            ("ipc", self.ipc),
            ("curve", self.curve),
        ] {
            write!(f, ", {}{name}", if has { "" } else { "no " })?;
        }
        Ok(())
    }
}

/// Makes a ROUTER tell of peers that are gone, if this libzmq can.
pub(crate) fn enable_router_notify(socket: &mut Socket) -> bool {
    socket.set_raw(ROUTER_NOTIFY, NOTIFY_DISCONNECT).is_ok()
}

fn signals_by_eventfd(socket: &Socket) -> bool {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", socket.fd().as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.to_string_lossy().contains("eventfd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_builds_libzmq_with_its_flags() {
        let features = LibzmqFeatures::probe().unwrap();
        assert!(features.ipc, "{features}");
        assert!(features.version.0 >= 4, "{features}");
        // Set in `.cargo/config.toml`; a CXXFLAGS of the environment wins over it.
        if std::env::var("CXXFLAGS").is_ok_and(|flags| flags.contains("ZMQ_BUILD_DRAFT_API")) {
            assert!(features.router_notify, "{features}");
            assert!(features.eventfd, "{features}");
        }
    }
}
