//! Why a controller did not start, or ended.

use std::io;

use thiserror::Error;

/// An error of the controller as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A socket, an endpoint, or the number of descriptors; the message says what to do.
    #[error(transparent)]
    Transport(#[from] taskyard_zmq::Error),
    /// The capacities make no sense, or a port could not be attached.
    #[error(transparent)]
    Dispatcher(#[from] taskyard_dispatcher::Error),
    /// No shard, or more than there may be.
    #[error("{given} shards make no sense: say 1 to {max}")]
    Shards {
        /// How many were asked for.
        given: u16,
        /// How many there may be.
        max: u16,
    },
    /// The system has no thread for us.
    #[error("no thread for the controller: {0}; raise the limit of processes (ulimit -u)")]
    Thread(#[from] io::Error),
    /// A thread of ours panicked: a bug.
    #[error("a thread of the controller panicked; please report it with the lines above")]
    Panicked,
}
