//! Why a command came to nothing: each is one line that says whose fault it is and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use taskyard_zmq::{OrderRefusal, Role};

/// What ended a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The controller's, or a thread's.
    #[error(transparent)]
    Controller(#[from] taskyard_controller::Error),
    /// The network's, or what libzmq says of it.
    #[error(transparent)]
    Transport(#[from] taskyard_zmq::Error),
    /// Whoever gave the order.
    #[error("{0}")]
    Refused(OrderRefusal),
    /// The controller, or it is none.
    #[error("the controller answers something else than was asked: is it of another version?")]
    Odd,
    /// Whoever reads what is printed.
    #[error("cannot write: {0}")]
    Output(io::Error),
    /// The system.
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    /// Nobody has started a controller here.
    #[error(
        "no connection file for the role {role} in {}: start a controller (`taskyard controller`), \
         or name its file with --connect or TASKYARD_CONNECT", folder.display()
    )]
    NoFile { role: Role, folder: PathBuf },
    /// Whoever chose the file.
    #[error(
        "{} is a connection file of a {is}, and this needs the {role}'s: --connect \
         taskyard-{role}.json from the same folder", path.display()
    )]
    WrongRole {
        path: PathBuf,
        is: String,
        role: Role,
    },
    /// The controller is gone, or the file is an old one.
    #[error(
        "no controller answered at {endpoint} within {waited:?}: it is not running, or {} is not \
         the file that it wrote last", path.display()
    )]
    NoController {
        endpoint: String,
        waited: Duration,
        path: PathBuf,
    },
    /// Whoever wrote the command line.
    #[error("{0} (--help tells the options)")]
    Usage(String),
    /// Whoever installed Python's half, or did not.
    #[error("{0}")]
    Python(String),
    /// The controller will not have this worker, whatever it does.
    #[error("{0}: {1}")]
    Worker(String, taskyard_protocol::Rejection),
}

impl Failure {
    /// As an error of the system, in words.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    /// Whether whoever read the output has read enough: `taskyard queue list | head`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
