//! A controller in a process of its own, its worker processes, and a client in this one: what all
//! measurements here have in common.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use taskyard_core::{Submit, Target};
use taskyard_zmq::{ClientOptions, Context, ContextOptions, RemoteClient, Role as KeyRole};

use super::book::{Aim, Book};
use super::crew::{Crew, PATIENCE};
use super::options::Way;
use super::worker::{Work, name_of};
use crate::child::Child;
use crate::error::Error;
use crate::machine;
use crate::messages::{Endpoints, HeartbeatMs, Role};
use crate::options::Mode;
use crate::roles::credentials;

/// Tasks outstanding for each worker when the capacity is measured.
const CAPACITY_DEPTH: usize = 2;
/// How long that is warmed up, and how long it is measured then.
const CAPACITY_WARMUP: Duration = Duration::from_millis(300);
const CAPACITY_TIME: Duration = Duration::from_millis(1_500);

/// What an arena is made of.
#[derive(Clone, Debug)]
pub(super) struct Setup<'a> {
    /// How processes are joined.
    pub(super) way: Way,
    /// Folder for Unix sockets.
    pub(super) folder: &'a Path,
    /// How silent peers are found, if not by the defaults.
    pub(super) heartbeat: Option<HeartbeatMs>,
    /// How many workers there may be at once.
    pub(super) seats: u32,
    /// The workers' network namespace and our address there, unless they live in ours.
    pub(super) namespace: Option<(String, Ipv4Addr)>,
}

/// All of it, running.
#[derive(Debug)]
pub(super) struct Arena {
    // Fields are dropped in order: the client says goodbye while there is somebody to hear it.
    client: RemoteClient,
    _context: Context,
    pub(super) book: Book,
    pub(super) crew: Crew,
    controller: Child,
}

impl Arena {
    /// Starts a controller, and connects a client; all seats are empty.
    pub(super) fn start(setup: &Setup<'_>) -> Result<Self, Error> {
        let role = Role::Controller {
            mode: Mode::Auto,
            endpoints: endpoints(setup),
            shards: 1,
            payload: 64,
            heartbeat: setup.heartbeat,
        };
        let mut controller = Child::start("the controller", &role)?;
        let ready = controller.ready()?;
        let endpoints = ready
            .endpoints
            .ok_or_else(|| Error::System("the controller did not say where it listens".into()))?;
        let context = Context::new(ContextOptions::default()).map_err(Error::system)?;
        let mut options = ClientOptions::new(endpoints.clients.parse().map_err(Error::system)?);
        options.connect_timeout = PATIENCE;
        options.credentials = credentials(endpoints.connection.as_deref(), KeyRole::Client)?;
        let client = RemoteClient::connect(&context, &options).map_err(Error::system)?;
        let namespace = setup.namespace.as_ref().map(|(name, _)| name.clone());
        Ok(Self {
            client,
            _context: context,
            book: Book::default(),
            crew: Crew::new(endpoints, namespace, setup.seats)?,
            controller,
        })
    }

    /// Starts a worker in each seat, and waits until all are registered.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        for seat in 0..self.crew.len() {
            self.crew.spawn(seat)?;
        }
        self.crew
            .await_all(|word| matches!(word, super::worker::Word::Registered(..)))?;
        Ok(())
    }

    /// Submits a task that may start so many times at most.
    pub(super) fn submit(&mut self, aim: Aim, work: Work, attempts: u8) -> Result<(), Error> {
        let task = self.client.next_task_id();
        let (target, name) = match aim {
            Aim::Any => (Target::Any, None),
            Aim::Seat(seat, _) => (Target::Any, Some(name_of(seat))),
            Aim::All => (Target::All, None),
        };
        self.book.note(task, aim);
        let submit = Submit::new(task, target).attempts(attempts);
        self.client
            .submit(submit, name.as_deref(), work.payload())
            .map_err(Error::system)
    }

    /// Submits a task for the worker in a seat, which is registered.
    pub(super) fn submit_to(&mut self, seat: u32, work: Work) -> Result<(), Error> {
        let standing = self.crew.standing(seat);
        let (_, epoch) = standing.expect("whoever is given a task is registered");
        self.submit(Aim::Seat(seat, epoch), work, 1)
    }

    /// Notes all that the client is told until then; back at once when something was.
    pub(super) fn listen(&mut self, until: Instant) -> Result<(), Error> {
        let wait = until.saturating_duration_since(Instant::now());
        let mut event = self.client.wait(wait).map_err(Error::system)?;
        while let Some(told) = event {
            self.book.handle(told);
            event = self.client.poll().map_err(Error::system)?;
        }
        Ok(())
    }

    /// Waits until so many tasks at most have no outcome.
    pub(super) fn drain(&mut self, left: usize) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        while self.book.outstanding() > left && Instant::now() < end {
            self.listen(end)?;
        }
        Ok(())
    }

    /// Outcomes that came again; the client has withheld them.
    pub(super) fn repeats(&self) -> u64 {
        self.client.repeats().count
    }

    /// Tasks per second when every worker always has one waiting.
    pub(super) fn capacity(&mut self, work: Work) -> Result<f64, Error> {
        let depth = CAPACITY_DEPTH * self.crew.len() as usize;
        let start = Instant::now() + CAPACITY_WARMUP;
        let end = start + CAPACITY_TIME;
        let mut before = None;
        while Instant::now() < end {
            if before.is_none() && Instant::now() >= start {
                before = Some((Instant::now(), self.book.counts().completed));
            }
            while self.book.outstanding() < depth {
                self.submit(Aim::Any, work, Submit::ATTEMPTS_ANY)?;
            }
            self.listen(end)?;
        }
        let (since, before) = before.unwrap_or((start, 0));
        let done = self.book.counts().completed - before;
        let rate = done as f64 / since.elapsed().as_secs_f64();
        self.drain(0)?;
        Ok(rate)
    }

    /// Sends a signal to the controller.
    pub(super) fn signal_controller(&self, signal: Signal) -> Result<(), Error> {
        let pid = Pid::from_raw(self.controller.id().cast_signed());
        let pid = pid.expect("a child has a number");
        kill_process(pid, signal).map_err(|error| Error::io("a signal")(error.into()))
    }

    /// Bytes of main memory and open descriptors of the controller.
    pub(super) fn footprint(&self) -> Result<Footprint, Error> {
        let pid = self.controller.id();
        let rss_bytes = machine::resident_bytes(pid)
            .ok_or_else(|| Error::System("the controller is gone".into()))?;
        let folder = format!("/proc/{pid}/fd");
        let fds = fs::read_dir(&folder).map_err(Error::io(format!("reading {folder}")))?;
        let fds = fds.count() as u64;
        Ok(Footprint { rss_bytes, fds })
    }
}

/// What the controller's process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) rss_bytes: u64,
    pub(super) fds: u64,
}

fn endpoints(setup: &Setup<'_>) -> Endpoints {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let connection = Some(setup.folder.join(format!("keys-{number}")));
    let anywhere = "tcp://127.0.0.1:*".to_owned();
    match (&setup.namespace, setup.way) {
        (Some((_, address)), _) => Endpoints {
            clients: anywhere,
            workers: format!("tcp://{address}:*"),
            connection,
        },
        (None, Way::Tcp) => Endpoints {
            clients: anywhere.clone(),
            workers: anywhere,
            connection,
        },
        (None, Way::Ipc) => {
            let path = |name: &str| format!("ipc://{}", setup.folder.join(name).display());
            Endpoints {
                clients: path("clients"),
                workers: path("workers"),
                connection,
            }
        }
    }
}
