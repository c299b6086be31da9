//! One system under test, with its workers and its client: a lane beside which others run.
//!
//! All lanes of a comparison are up at the same time, and sleep while another one is measured.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::child::Child;
use crate::error::Error;
use crate::measure::{Block, Load, Trial};
use crate::messages::{Command, Endpoints, Ready, Report, Role, Waiting};
use crate::options::{Mode, Options, Topic, Transport};

/// Workers that one process holds at most.
pub(crate) const WORKERS_PER_HOST: u32 = 1024;

/// Not for a figure: rings and tables are touched for the first time, at a page fault every few
/// tasks.
const FIRST_LAP: Trial = Trial {
    load: Load::Closed { outstanding: 64 },
    topic: Topic::Any,
    millis: 100,
    warmup: 0,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// The real thing.
    Taskyard(Mode),
    /// The thinnest forwarder over libzmq.
    Floor,
    /// The thinnest forwarder over bare sockets.
    Raw,
    /// The real thing without sockets.
    Inproc(Waiting),
}

impl System {
    /// What stands as the mode of its points.
    pub(crate) const fn mode(self) -> &'static str {
        match self {
            Self::Taskyard(mode) => mode.label(),
            Self::Floor => "floor",
            Self::Raw => "raw",
            Self::Inproc(waiting) => waiting.label(),
        }
    }
}

/// A running system.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) system: System,
    /// What `auto` came to.
    pub(crate) mode_picked: Option<String>,
    // Fields are dropped in order: clients leave before the workers, these before their controller.
    client: Child,
    _workers: Vec<Child>,
    controller: Option<Child>,
}

impl Lane {
    /// Starts several systems at once, each with as many workers; back when all are attached.
    ///
    /// # Errors
    /// When one of the processes does not come up.
    pub(crate) fn start_all(
        systems: &[System],
        transport: Transport,
        workers: u32,
        options: &Options,
        folder: &Path,
    ) -> Result<Vec<Self>, Error> {
        let starting: Result<Vec<_>, Error> = systems
            .iter()
            .map(|&system| {
                let endpoints = endpoints(system, transport, workers, folder);
                Starting::begin(system, endpoints, options)
            })
            .collect();
        let starting: Result<Vec<_>, Error> = starting?
            .into_iter()
            .map(|lane| lane.start_workers(workers, options))
            .collect();
        starting?
            .into_iter()
            .map(|lane| lane.start_client(options))
            .collect()
    }

    /// Starts client, dispatcher and workers as one process.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_inproc(
        waiting: Waiting,
        workers: u32,
        options: &Options,
    ) -> Result<Self, Error> {
        let role = Role::Inproc {
            workers,
            waiting,
            payload: options.payload,
        };
        let client = Child::start("the in-process system", &role)?;
        let mut lane = Self::of_one(System::Inproc(waiting), client)?;
        lane.measure(&FIRST_LAP)?;
        Ok(lane)
    }

    /// Starts the floor of threads that sleep: it takes one task at a time.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_hand_over() -> Result<Self, Error> {
        let client = Child::start("the hand-over floor", &Role::HandOver)?;
        Self::of_one(System::Floor, client)
    }

    /// A system that is one process.
    fn of_one(system: System, mut client: Child) -> Result<Self, Error> {
        client.ready()?;
        Ok(Self {
            system,
            mode_picked: None,
            client,
            _workers: Vec::new(),
            controller: None,
        })
    }

    /// Measures one block.
    pub(crate) fn measure(&mut self, trial: &Trial) -> Result<Block, Error> {
        match self.client.ask(&Command::Measure(*trial))? {
            Report::Block(block) => Ok(block),
            other => Err(self.client.puzzled(&other)),
        }
    }

    /// Submits so many tasks and reads no outcome.
    pub(crate) fn queue(&mut self, tasks: u32) -> Result<(), Error> {
        match self.client.ask(&Command::Queue { tasks })? {
            Report::Done => Ok(()),
            other => Err(self.client.puzzled(&other)),
        }
    }

    /// Allocations so far of the process with the dispatcher.
    pub(crate) fn allocations(&mut self) -> Result<u64, Error> {
        let child = self.controller.as_mut().unwrap_or(&mut self.client);
        match child.ask(&Command::Allocations)? {
            Report::Allocations(count) => Ok(count),
            other => Err(child.puzzled(&other)),
        }
    }

    /// The process with the dispatcher.
    pub(crate) fn controller_id(&self) -> u32 {
        self.controller.as_ref().unwrap_or(&self.client).id()
    }
}

/// A lane whose controller, and then whose workers, are on their way.
struct Starting {
    system: System,
    controller: Child,
    workers: Vec<Child>,
    ready: Ready,
}

impl Starting {
    fn begin(system: System, endpoints: Endpoints, options: &Options) -> Result<Self, Error> {
        let payload = options.payload;
        let (name, role) = match system {
            System::Floor => ("the libzmq floor", Role::Floor { endpoints }),
            System::Raw => ("the raw floor", Role::Raw { endpoints, payload }),
            System::Taskyard(mode) => {
                let shards = options.shards;
                (
                    "the controller",
                    Role::Controller {
                        mode,
                        endpoints,
                        shards,
                        payload,
                        heartbeat: None,
                    },
                )
            }
            System::Inproc(_) => unreachable!("it has a way of its own to start"),
        };
        let controller = Child::start(name, &role)?;
        Ok(Self {
            system,
            controller,
            workers: Vec::new(),
            ready: Ready::default(),
        })
    }

    fn start_workers(mut self, workers: u32, options: &Options) -> Result<Self, Error> {
        self.ready = self.controller.ready()?;
        let (endpoint, connection) = {
            let told = self.endpoints()?;
            (told.workers.clone(), told.connection.clone())
        };
        let payload = options.payload;
        for first in (0..workers).step_by(WORKERS_PER_HOST as usize) {
            let count = WORKERS_PER_HOST.min(workers - first);
            let (endpoint, connection) = (endpoint.clone(), connection.clone());
            let role = match self.system {
                System::Raw => Role::RawWorkers {
                    endpoint,
                    count,
                    payload,
                },
                _ => Role::Workers {
                    endpoint,
                    connection,
                    count,
                    first,
                },
            };
            self.workers.push(Child::start("a worker host", &role)?);
        }
        Ok(self)
    }

    fn start_client(mut self, options: &Options) -> Result<Lane, Error> {
        for host in &mut self.workers {
            host.ready()?;
        }
        let told = self.endpoints()?;
        let (endpoint, connection) = (told.clients.clone(), told.connection.clone());
        let payload = options.payload;
        let role = match self.system {
            System::Raw => Role::RawClient { endpoint, payload },
            _ => Role::Client {
                endpoint,
                connection,
                payload,
            },
        };
        let mut client = Child::start("the client", &role)?;
        client.ready()?;
        Ok(Lane {
            system: self.system,
            mode_picked: self.ready.mode,
            client,
            _workers: self.workers,
            controller: Some(self.controller),
        })
    }

    fn endpoints(&self) -> Result<&Endpoints, Error> {
        let endpoints = self.ready.endpoints.as_ref();
        endpoints.ok_or_else(|| Error::System("a controller told no endpoints".into()))
    }
}

/// Where a system listens: on a free port, or under a name that no other one of this run has or
/// had.
fn endpoints(system: System, transport: Transport, workers: u32, folder: &Path) -> Endpoints {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let connection = folder.join(format!("keys-{number}"));
    let place = |side: &str| match transport {
        Transport::ZmqIpc => {
            format!(
                "ipc://{}/{}-{workers}-{side}",
                folder.display(),
                system.mode()
            )
        }
        Transport::ZmqTcp | Transport::Inproc => "tcp://127.0.0.1:*".into(),
    };
    Endpoints {
        clients: place("clients"),
        workers: place("workers"),
        connection: Some(connection),
    }
}
