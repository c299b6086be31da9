//! What can go wrong, in words that say what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use taskyard_protocol::Rejection;
use taskyard_protocol::remote::SubmitError;
use taskyard_protocol::wire::{FRAMES_MAX, WireError};

use crate::Endpoint;

/// Why something did not work. Each variant says whose move it is; each message is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint cannot be listened on; whoever chose it.
    #[error("cannot listen on {endpoint}: {reason}")]
    Bind {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The endpoint cannot even be tried; whoever chose it.
    #[error("cannot connect to {endpoint}: {reason}")]
    Connect {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is wrong with it.
        reason: String,
    },
    /// A connection file, or the folder of it, cannot be used; whoever put it there.
    #[error("{}: {reason}", path.display())]
    ConnectionFile {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The process may not open as many descriptors as it needs; whoever set its limits.
    #[error(
        "{needed} file descriptors are needed and only {allowed} are allowed: raise the hard limit \
         (`ulimit -Hn {needed}`, or LimitNOFILE={needed} of a service) or ask for fewer peers"
    )]
    Descriptors {
        /// So many.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// What answers does not speak this protocol as it should; the controller, or it is not one.
    #[error("the controller sent what cannot be understood: {0}")]
    Garbage(#[from] WireError),
    /// The text is no endpoint; whoever wrote it.
    #[error("`{text}` is no endpoint: {reason}")]
    Endpoint {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A payload has 1 to 64 frames; the caller.
    #[error("a payload of {0} frames: it has at least 1 and at most {FRAMES_MAX}")]
    Frames(usize),
    /// What is said there would cross a network in the clear; whoever chose the endpoint.
    #[error(
        "{0} can be reached from other hosts, and nothing said there is encrypted: listen on \
         127.0.0.1 or ipc://, build with libsodium, or accept it with --insecure-network"
    )]
    InsecureNetwork(Endpoint),
    /// A worker has at most 8 labels of 1 to 63 bytes each; the caller.
    #[error("a worker has at most 8 labels, and each has at least 1 and at most 63 bytes")]
    Labels,
    /// A name has 1 to 255 bytes; the caller.
    #[error("a worker's name of {0} bytes: it has at least 1 and at most 255")]
    Name(usize),
    /// The heartbeat is so fast that it would find a busy machine; whoever set it.
    #[error(
        "a heartbeat {what} of {given:?} takes busy peers for dead ones: give at least 100 \
         ms, or an interval of 0 for no heartbeats at all"
    )]
    Heartbeat {
        /// The interval or the timeout.
        what: &'static str,
        /// What was asked for.
        given: Duration,
    },
    /// The connection file is of a controller with CURVE, and the libzmq here has none; whoever
    /// built this program.
    #[error(
        "this program's libzmq has no CURVE, which the controller asks for: build with libsodium"
    )]
    NoCurve,
    /// Nothing answers there, or something that is no controller; the network, or whoever chose it.
    #[error(
        "no controller answered at {endpoint} within {waited:?}: is one running there, is this its \
         endpoint for {side}, and is the connection file the one that it wrote last?"
    )]
    NoAnswer {
        /// The endpoint.
        endpoint: Endpoint,
        /// How long it was tried.
        waited: Duration,
        /// Whom the endpoint ought to serve.
        side: &'static str,
    },
    /// The operating system refused something that it should not.
    #[error("{what}: {kind}")]
    Os {
        /// What was being done.
        what: &'static str,
        /// What it said.
        kind: io::ErrorKind,
    },
    /// The context has as many sockets as it may; whoever made it.
    #[error(
        "the ZeroMQ context has all the {sockets_max} sockets that it may: make it with a larger \
         `sockets_max`, or make several"
    )]
    SocketsFull {
        /// So many.
        sockets_max: usize,
    },
    /// The controller has refused the session or the registration.
    #[error("{0}")]
    Rejected(Rejection),
    /// The task was not taken; the caller.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A question had no answer in time; the controller, or the network.
    #[error("the controller has not answered within {waited:?}: is it running?")]
    Unanswered {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Shards of one context have different keys; whoever put them together.
    #[error("a context serves controllers with the same keys only: make another context")]
    TwoSecurities,
    /// libzmq failed in a way that it should not.
    #[error("{what}: libzmq says: {message}")]
    Zmq {
        /// What was being done.
        what: &'static str,
        /// What it said.
        message: &'static str,
    },
}

impl Error {
    pub(crate) fn zmq(what: &'static str, error: zmq::Error) -> Self {
        Self::Zmq {
            what,
            message: error.message(),
        }
    }

    pub(crate) fn os(what: &'static str, error: &io::Error) -> Self {
        Self::Os {
            what,
            kind: error.kind(),
        }
    }
}
