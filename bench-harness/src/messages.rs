//! What parent and child processes say to each other: one JSON object a line, over stdin and
//! stdout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::measure::{Block, Trial};
use crate::options::Mode;

/// What a child is started as; its only argument, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// The system under test.
    Controller {
        /// Who drives the dispatcher.
        mode: Mode,
        /// Where clients and workers shall attach; a port may be `*`.
        endpoints: Endpoints,
        /// How many shards.
        shards: u16,
        /// The largest payload that will come.
        payload: u32,
        /// How silent peers are found, if not by the defaults.
        heartbeat: Option<HeartbeatMs>,
    },
    /// The thinnest forwarder over libzmq.
    Floor {
        /// Where clients and workers shall attach; a port may be `*`.
        endpoints: Endpoints,
    },
    /// The thinnest forwarder over bare sockets.
    Raw {
        /// Where client and workers shall attach; a port may be `*`.
        endpoints: Endpoints,
        /// Bytes of every message.
        payload: u32,
    },
    /// Many workers in one thread.
    Workers {
        /// Where they attach.
        endpoint: String,
        /// The folder with their key, if they are asked for one.
        connection: Option<PathBuf>,
        /// How many.
        count: u32,
        /// Number of the first one: it is in the workers' names.
        first: u32,
    },
    /// Many workers of the raw forwarder in one thread.
    RawWorkers {
        /// Where they attach.
        endpoint: String,
        /// How many.
        count: u32,
        /// Bytes of every message.
        payload: u32,
    },
    /// Sends tasks, and times the answers.
    Client {
        /// Where it attaches.
        endpoint: String,
        /// The folder with its key, if it is asked for one.
        connection: Option<PathBuf>,
        /// Bytes of a task's payload.
        payload: u32,
    },
    /// The same for the raw forwarder.
    RawClient {
        /// Where it attaches.
        endpoint: String,
        /// Bytes of every message.
        payload: u32,
    },
    /// One worker, to be killed or stopped; what it tells is read by lines of its own.
    FailureWorker {
        /// Where it attaches.
        endpoint: String,
        /// The folder with its key.
        connection: Option<PathBuf>,
        /// It is in its name.
        seat: u32,
    },
    /// Two threads that wake each other: the floor of threads that sleep.
    HandOver,
    /// Client, dispatcher and workers in one process.
    Inproc {
        /// How many workers, on one thread.
        workers: u32,
        /// How the threads wait.
        waiting: Waiting,
        /// Bytes of a task's payload.
        payload: u32,
    },
}

/// Milliseconds between two heartbeats, and those that an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeartbeatMs {
    /// Between two.
    pub(crate) interval: u64,
    /// For an answer.
    pub(crate) timeout: u64,
}

/// Where a system takes its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// Clients attach here.
    pub(crate) clients: String,
    /// Workers attach here.
    pub(crate) workers: String,
    /// Keys are in this folder, where keys are asked for.
    pub(crate) connection: Option<PathBuf>,
}

/// How a thread waits for work in the in-process series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Waiting {
    /// It looks again and again.
    Spin,
    /// It sleeps until it is woken.
    Park,
}

impl Waiting {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Park => "park",
        }
    }
}

/// From the parent to a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// Measure one block; answered by [`Report::Block`].
    Measure(Trial),
    /// Submit so many tasks and read no answers; answered by [`Report::Done`].
    Queue {
        /// How many.
        tasks: u32,
    },
    /// Answered by [`Report::Allocations`].
    Allocations,
}

/// From a child to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// It is up: a forwarder or controller says where.
    Ready(Ready),
    /// A block was measured.
    Block(Block),
    /// Allocations of the process so far.
    Allocations(u64),
    /// It is done.
    Done,
    /// It cannot go on; it ends by itself.
    Failed(String),
}

/// What a child has to tell when it is up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Where peers attach, ports filled in.
    pub(crate) endpoints: Option<Endpoints>,
    /// The mode that the controller picked.
    pub(crate) mode: Option<String>,
}
