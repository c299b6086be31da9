//! What a controller is made of.

use std::path::PathBuf;
use std::str::FromStr;

use taskyard_core::Config;
use taskyard_dispatcher::{IdleStrategy, cores_available};
use taskyard_zmq::{ConnectionDir, Endpoint, Heartbeat};

/// Who drives the dispatcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `Pinned` from four cores on, else `Hosted`.
    #[default]
    Auto,
    /// A thread of its own, on a core of its own.
    Pinned,
    /// The thread of the first shard: no hand-over between threads at all.
    Hosted,
}

impl Mode {
    /// With fewer cores a dispatcher's own thread takes turns with the threads that it serves, and
    /// each turn costs a wake-up.
    const PINNED_CORES: usize = 4;

    /// The mode that `Auto` stands for on this machine.
    #[must_use]
    pub fn resolve(self) -> Self {
        match self {
            Self::Auto if cores_available() >= Self::PINNED_CORES => Self::Pinned,
            Self::Auto => Self::Hosted,
            fixed => fixed,
        }
    }

    /// Its word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pinned => "pinned",
            Self::Hosted => "hosted",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Pinned, Self::Hosted]
            .into_iter()
            .find(|mode| mode.name() == word)
            .ok_or_else(|| format!("'{word}' is no mode: say auto, pinned or hosted"))
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect.
    pub clients: Endpoint,
    /// Where workers connect.
    pub workers: Endpoint,
    /// Who drives the dispatcher.
    pub mode: Mode,
    /// Transport threads; workers are spread over them. Clients all talk to the first.
    pub shards: u16,
    /// The core that a pinned dispatcher gets, from 0.
    pub core: usize,
    /// How a pinned dispatcher waits.
    pub idle: IdleStrategy,
    /// Capacities of the scheduler.
    pub capacities: Config,
    /// The largest payload taken, in bytes.
    pub payload_max: usize,
    /// Bytes of each peer's messages that are read ahead, about.
    pub receive_bytes: usize,
    /// How silent peers are found; `None`: not at all.
    pub heartbeat: Option<Heartbeat>,
    /// The folder for the connection files; keys and ports of an earlier start are taken from it.
    pub connection_dir: PathBuf,
    /// To make new keys although the folder has some.
    pub fresh_keys: bool,
    /// To let everybody in who can reach the endpoints.
    pub no_auth: bool,
    /// To listen where other hosts can reach it although nothing is encrypted.
    pub insecure_network: bool,
}

impl Options {
    /// The most shards that a controller may have.
    pub const SHARDS_MAX: u16 = 16;

    /// A controller on these endpoints with everything else at its default.
    #[must_use]
    pub fn new(clients: Endpoint, workers: Endpoint) -> Self {
        Self {
            clients,
            workers,
            mode: Mode::Auto,
            shards: 1,
            core: 0,
            idle: IdleStrategy::Backoff,
            capacities: Config::default(),
            payload_max: 16 << 20,
            receive_bytes: 64 << 20,
            heartbeat: Some(Heartbeat::default()),
            connection_dir: ConnectionDir::default_path(),
            fresh_keys: false,
            no_auth: false,
            insecure_network: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn auto_never_stays_auto() {
        assert_ne!(Mode::Auto.resolve(), Mode::Auto);
        assert_eq!(Mode::Hosted.resolve(), Mode::Hosted);
    }

    #[test]
    fn an_unknown_mode_is_told_what_to_say() {
        assert_eq!("pinned".parse(), Ok(Mode::Pinned));
        let error = "fast".parse::<Mode>().unwrap_err();
        assert_eq!(error, "'fast' is no mode: say auto, pinned or hosted");
    }
}
