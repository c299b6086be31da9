//! Why the dispatcher could not do what it was asked.

use taskyard_core::{ConfigError, RegistrationRefusal};
use thiserror::Error;

/// An error of the embedder: nothing that comes in through a port is one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration makes no sense; the embedder's fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More ports than the configuration allows; the embedder's fault.
    #[error("all {limit} ports are taken: raise `ports` in the configuration")]
    PortsFull {
        /// How many there may be.
        limit: u16,
    },
    /// More clients than the configuration allows.
    #[error("the controller has as many clients as it may: raise `clients` in the configuration")]
    ClientsFull,
    /// An in-process worker was not admitted.
    #[error(
        "worker '{name}' was not admitted ({refusal:?}): choose a free name, or raise `workers`"
    )]
    NotAdmitted {
        /// Its name.
        name: String,
        /// Why.
        refusal: RegistrationRefusal,
    },
    /// The dispatcher's thread has ended.
    #[error("the dispatcher has stopped")]
    Stopped,
}
