//! The child processes: each is this program, started with a [`Role`] as its argument.
//!
//! A child reports on stdout and takes commands on stdin. The end of its input is the word to end:
//! so a child outlives its parent under no circumstances, and the kernel's own signal is the second
//! way.

mod client;
mod controller;
mod floor;
mod hand_over;
mod inproc;
mod raw;
mod raw_peers;
mod serve;
mod workers;

use rustix::process::{Signal, set_parent_process_death_signal};

use std::path::Path;

use taskyard_zmq::{ConnectionDir, Credentials, Role as KeyRole};

use crate::error::Error;
use crate::messages::{Report, Role};

/// Runs a role to its end.
pub(crate) fn run(role: &str) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::system)?;
    // Warnings of the libraries, as to pinning, go past the parent to whoever reads.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let role = serde_json::from_str(role).map_err(Error::system)?;
    let ended = match role {
        Role::Controller {
            mode,
            endpoints,
            shards,
            payload,
            heartbeat,
        } => controller::run(mode, endpoints, shards, payload, heartbeat),
        Role::Floor { endpoints } => floor::run(&endpoints),
        Role::Raw { endpoints, payload } => raw::run(&endpoints, payload),
        Role::Workers {
            endpoint,
            connection,
            count,
            first,
        } => workers::run(&endpoint, connection.as_deref(), count, first),
        Role::RawWorkers {
            endpoint,
            count,
            payload,
        } => raw_peers::run_workers(&endpoint, count, payload),
        Role::Client {
            endpoint,
            connection,
            payload,
        } => client::run(&endpoint, connection.as_deref(), payload),
        Role::RawClient { endpoint, payload } => raw_peers::run_client(&endpoint, payload),
        Role::FailureWorker {
            endpoint,
            connection,
            seat,
        } => crate::failures::run_worker(&endpoint, connection.as_deref(), seat),
        Role::HandOver => hand_over::run(),
        Role::Inproc {
            workers,
            waiting,
            payload,
        } => inproc::run(workers, waiting, payload),
    };
    if let Err(error) = &ended {
        serve::say(&Report::Failed(error.to_string()))?;
    }
    ended
}

/// The key of a role in this folder; none where nobody asks for one.
pub(crate) fn credentials(connection: Option<&Path>, role: KeyRole) -> Result<Credentials, Error> {
    let Some(folder) = connection else {
        return Ok(Credentials::None);
    };
    let file = ConnectionDir::file_of(folder, role);
    Credentials::from_connection_file(file).map_err(Error::system)
}
