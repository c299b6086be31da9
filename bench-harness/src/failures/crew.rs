//! Worker processes, one for each seat: started, stopped, killed, and what they tell.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use taskyard_core::{Epoch, WorkerId};

use super::worker::Word;
use crate::child::ROLE;
use crate::error::Error;
use crate::host::{host, this_program};
use crate::messages::{Endpoints, Role};

/// Longer than any start takes; only a failure waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker has told, and when that was read.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) seat: u32,
    pub(super) word: Word,
}

/// All worker processes of a run; those that still run end with it.
#[derive(Debug)]
pub(super) struct Crew {
    endpoint: String,
    /// The folder with the workers' key.
    connection: Option<PathBuf>,
    /// The network namespace that they live in, unless it is ours.
    namespace: Option<String>,
    /// All of them write here.
    voice: PipeWriter,
    told: Receiver<Told>,
    seats: Vec<Option<Child>>,
    /// The incarnation that the worker in each seat has registered as.
    standing: Vec<Option<(WorkerId, Epoch)>>,
    /// Process group of those that are to be killed at once.
    group: Option<Pid>,
}

impl Crew {
    /// Nobody yet, in so many seats.
    pub(super) fn new(
        endpoints: Endpoints,
        namespace: Option<String>,
        seats: u32,
    ) -> Result<Self, Error> {
        let (ear, voice) = std::io::pipe().map_err(Error::io("making a pipe"))?;
        let (sender, told) = channel();
        // Ends with the last process that could write.
        thread::spawn(move || listen(ear, &sender));
        Ok(Self {
            endpoint: endpoints.workers,
            connection: endpoints.connection,
            namespace,
            voice,
            told,
            seats: (0..seats).map(|_| None).collect(),
            standing: vec![None; seats as usize],
            group: None,
        })
    }

    pub(super) fn len(&self) -> u32 {
        self.seats.len() as u32
    }

    /// Starts the worker of an empty seat. Call it from the thread that outlives the crew: the
    /// kernel ends the worker with the thread that started it.
    pub(super) fn spawn(&mut self, seat: u32) -> Result<(), Error> {
        let child = self.start(seat, 0)?;
        self.seats[seat as usize] = Some(child);
        Ok(())
    }

    /// Starts a worker in each seat, all in one process group.
    pub(super) fn spawn_group(&mut self) -> Result<(), Error> {
        self.group = None;
        for seat in 0..self.len() {
            let group = self.group.map_or(0, |leader| leader.as_raw_nonzero().get());
            let child = self.start(seat, group)?;
            self.group = self.group.or_else(|| pid_of(&child));
            self.seats[seat as usize] = Some(child);
        }
        Ok(())
    }

    fn start(&mut self, seat: u32, group: i32) -> Result<Child, Error> {
        let program = this_program()?;
        let role = Role::FailureWorker {
            endpoint: self.endpoint.clone(),
            connection: self.connection.clone(),
            seat,
        };
        let role = serde_json::to_string(&role).map_err(Error::system)?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let voice = self.voice.try_clone();
        self.standing[seat as usize] = None;
        command
            .args(host().prefix)
            .args([ROLE, &role])
            .stdin(Stdio::null())
            .stdout(voice.map_err(Error::io("sharing a pipe"))?)
            .process_group(group)
            .spawn()
            .map_err(Error::io("starting a worker"))
    }

    /// Sends a signal to the worker in a seat; the time is from just before.
    pub(super) fn signal(&self, seat: u32, signal: Signal) -> Result<Instant, Error> {
        let child = self.seats[seat as usize].as_ref();
        let pid = child.and_then(pid_of).expect("somebody sits there");
        let at = Instant::now();
        kill_process(pid, signal).map_err(|error| Error::io("a signal")(error.into()))?;
        Ok(at)
    }

    /// Kills the group at once; the time is from just before.
    pub(super) fn kill_group(&self) -> Result<Instant, Error> {
        let group = self.group.expect("a group was started");
        let at = Instant::now();
        let killed = kill_process_group(group, Signal::KILL);
        killed.map_err(|error| Error::io("killing all workers")(error.into()))?;
        Ok(at)
    }

    /// Waits for the end of the killed worker in a seat, which is empty then.
    pub(super) fn bury(&mut self, seat: u32) -> Result<(), Error> {
        if let Some(mut child) = self.seats[seat as usize].take() {
            child.wait().map_err(Error::io("waiting for a worker"))?;
        }
        Ok(())
    }

    /// The incarnation in a seat, if it is known.
    pub(super) fn standing(&self, seat: u32) -> Option<(WorkerId, Epoch)> {
        self.standing[seat as usize]
    }

    /// What was told, if something was; waits for it at most so long.
    ///
    /// # Errors
    /// A worker that cannot go on.
    pub(super) fn hear(&mut self, wait: Duration) -> Result<Option<Told>, Error> {
        let told = match self.told.recv_timeout(wait) {
            Ok(told) => told,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        match &told.word {
            Word::Registered(worker, epoch) => {
                self.standing[told.seat as usize] = Some((*worker, *epoch));
            }
            Word::Failed(why) => {
                return Err(Error::Role {
                    role: format!("the worker in seat {}", told.seat),
                    message: why.clone(),
                });
            }
            Word::Evicted | Word::Got => {}
        }
        Ok(Some(told))
    }

    /// Waits until the worker in each seat has told this; the last time.
    pub(super) fn await_all(&mut self, is_it: impl Fn(&Word) -> bool) -> Result<Instant, Error> {
        let end = Instant::now() + PATIENCE;
        let mut missing: Vec<bool> = vec![true; self.seats.len()];
        let mut last = Instant::now();
        while missing.contains(&true) {
            let wait = end.saturating_duration_since(Instant::now());
            let Some(told) = self.hear(wait)? else {
                let left = missing.iter().filter(|missing| **missing).count();
                let all = missing.len();
                return Err(Error::System(format!(
                    "{left} of {all} workers did not do their part within {PATIENCE:?}"
                )));
            };
            if is_it(&told.word) {
                missing[told.seat as usize] = false;
                last = told.at;
            }
        }
        Ok(last)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for child in self.seats.iter_mut().flatten() {
            // An error means that it is gone already.
            let _ = child.kill();
        }
        for child in self.seats.iter_mut().flatten() {
            let _ = child.wait();
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}

fn listen(ear: PipeReader, sender: &Sender<Told>) {
    for line in BufReader::new(ear).lines() {
        let Ok(line) = line else { return };
        let at = Instant::now();
        let (seat, word) = Word::parse(&line);
        let seat = seat.unwrap_or_default();
        if sender.send(Told { at, seat, word }).is_err() {
            return;
        }
    }
}
