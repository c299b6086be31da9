//! File descriptors: how many a number of peers costs, and the limit raised to that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// What a process needs beside its peers: standard streams, libzmq's threads, libraries, logs.
const BASE: u64 = 64;

/// Descriptors that one remote client or worker takes: its socket's own signal (two in a libzmq
/// without eventfd) and its connection, and one more while it reconnects.
const PER_SOCKET: u64 = 4;

/// Descriptors of a controller with so many peers at once: one for each connection, and one more
/// for each while all reconnect before the old ones are noticed.
///
/// ```
/// assert!(taskyard_zmq::controller_descriptors(1024) >= 2048);
/// ```
#[must_use]
pub const fn controller_descriptors(peers: u32) -> u64 {
    BASE + 2 * peers as u64
}

/// Descriptors of a process that holds so many remote clients and workers.
///
/// ```
/// assert!(taskyard_zmq::remote_descriptors(1024) >= 3 * 1024);
/// ```
#[must_use]
pub const fn remote_descriptors(sockets: u32) -> u64 {
    BASE + PER_SOCKET * sockets as u64
}

/// Lets this process open that many descriptors, if it may: raises its soft limit, and as root the
/// hard one too. A limit that is high enough stays as it is.
///
/// # Errors
/// [`Error::Descriptors`]: the hard limit is lower, and this process may not raise it.
pub fn raise_descriptor_limit(needed: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |value: Option<u64>| value.is_none_or(|value| value >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    let raised = if enough(limit.maximum) {
        Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        }
    } else {
        Rlimit {
            current: Some(needed),
            maximum: Some(needed),
        }
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| Error::Descriptors {
        needed,
        allowed: limit.maximum.unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let before = getrlimit(Resource::Nofile);
        raise_descriptor_limit(1).unwrap();
        assert_eq!(getrlimit(Resource::Nofile), before);
    }

    #[test]
    fn more_than_the_kernel_has_is_refused_with_advice() {
        // Above fs.nr_open, which even root cannot pass.
        let error = raise_descriptor_limit(1 << 40).unwrap_err();
        assert!(error.to_string().contains("ulimit -Hn"), "{error}");
    }
}
