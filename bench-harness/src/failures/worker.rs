//! One worker in a process of its own: it holds each task for as long as the payload says, and
//! tells what happens to it.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use taskyard_core::{Epoch, Verdict, WorkerId};
use taskyard_zmq::{
    Assignment, Context, ContextOptions, RemoteWorker, Role, WorkerEvent, WorkerOptions, ZmqPayload,
};

use crate::error::Error;
use crate::roles::credentials;

/// Between two looks when there is nothing to do.
const LOOK: Duration = Duration::from_secs(1);
/// Before a worker that was refused asks again: its name may be free by then.
const RETRY: Duration = Duration::from_millis(50);

/// What the worker of a seat is called.
pub(super) fn name_of(seat: u32) -> String {
    format!("seat{seat}")
}

/// What a task asks of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// How long it takes.
    pub(super) micros: u32,
    /// Whether the worker shall tell that it has got it.
    pub(super) told: bool,
}

impl Work {
    /// It ends with its worker's registration.
    pub(super) const ENDLESS: Self = Self {
        micros: u32::MAX,
        told: true,
    };

    pub(super) fn payload(self) -> ZmqPayload {
        let mut bytes = [0; 5];
        bytes[..4].copy_from_slice(&self.micros.to_le_bytes());
        bytes[4] = self.told.into();
        ZmqPayload::from_bytes(&bytes)
    }

    fn of(payload: &ZmqPayload) -> Option<Self> {
        let (micros, told) = payload.bytes()?.split_first_chunk()?;
        Some(Self {
            micros: u32::from_le_bytes(*micros),
            told: told == [1],
        })
    }
}

/// What the worker in a seat tells on the pipe that all workers share: one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is admitted.
    Registered(WorkerId, Epoch),
    /// The controller takes it for lost.
    Evicted,
    /// It has got a task that it shall tell about.
    Got,
    /// Anything else: it cannot go on.
    Failed(String),
}

impl Word {
    /// A line that the system writes in one piece.
    fn line(&self, seat: u32) -> String {
        match self {
            Self::Registered(worker, epoch) => {
                format!("{seat} registered {} {}\n", worker.0, epoch.0)
            }
            Self::Evicted => format!("{seat} evicted\n"),
            Self::Got => format!("{seat} got\n"),
            Self::Failed(why) => format!("{seat} failed {why}\n"),
        }
    }

    /// The seat and what it says; what is no such line is its last words.
    pub(super) fn parse(line: &str) -> (Option<u32>, Self) {
        let mut words = line.split_whitespace();
        let seat = words.next().and_then(|seat| seat.parse().ok());
        let word = words.next();
        let mut number = || words.next()?.parse::<u32>().ok();
        let said = match word {
            Some("registered") => number()
                .zip(number())
                .map(|(worker, epoch)| Self::Registered(WorkerId(worker), Epoch(epoch))),
            Some("evicted") => Some(Self::Evicted),
            Some("got") => Some(Self::Got),
            _ => None,
        };
        (seat, said.unwrap_or_else(|| Self::Failed(line.to_owned())))
    }
}

/// Works until the process is ended.
pub(crate) fn run(endpoint: &str, connection: Option<&Path>, seat: u32) -> Result<(), Error> {
    let context = Context::new(ContextOptions::default()).map_err(Error::system)?;
    let endpoint = endpoint.parse().map_err(Error::system)?;
    let credentials = credentials(connection, Role::Worker)?;
    let options = WorkerOptions::new(endpoint, name_of(seat)).credentials(credentials);
    let worker = RemoteWorker::connect(&context, &options).map_err(Error::system)?;
    let mut seated = Seated {
        worker,
        seat,
        running: Vec::new(),
    };
    loop {
        seated.turn()?;
    }
}

struct Seated {
    worker: RemoteWorker,
    seat: u32,
    /// What it holds, and until when; `None`: for ever.
    running: Vec<(Option<Instant>, Assignment)>,
}

impl Seated {
    fn turn(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let next = self.running.iter().filter_map(|&(due, _)| due).min();
        let wait = next.map_or(LOOK, |due| due.saturating_duration_since(now).min(LOOK));
        if let Some(event) = self.worker.wait(wait).map_err(Error::system)? {
            self.handle(event)?;
        }
        let now = Instant::now();
        while let Some(at) = self
            .running
            .iter()
            .position(|&(due, _)| due.is_some_and(|due| due <= now))
        {
            let (_, assignment) = self.running.swap_remove(at);
            self.worker.report(&assignment, Verdict::Completed, None);
        }
        Ok(())
    }

    fn handle(&mut self, event: WorkerEvent<ZmqPayload>) -> Result<(), Error> {
        match event {
            WorkerEvent::Registered { worker, epoch } => {
                self.give_up_endless();
                self.say(&Word::Registered(worker, epoch))
            }
            WorkerEvent::Evicted => {
                self.worker.register();
                self.say(&Word::Evicted)
            }
            WorkerEvent::Task(assignment, payload) => {
                let work = Work::of(&payload)
                    .ok_or_else(|| Error::System("a task that is none of ours".into()))?;
                let due = Instant::now() + Duration::from_micros(work.micros.into());
                let due = (work != Work::ENDLESS).then_some(due);
                self.running.push((due, assignment));
                if work.told {
                    self.say(&Word::Got)?;
                }
                Ok(())
            }
            WorkerEvent::Abort(assignment) => {
                self.running.retain(|(_, running)| *running != assignment);
                self.worker.report(&assignment, Verdict::Aborted, None);
                Ok(())
            }
            WorkerEvent::Rejected(_) => {
                std::thread::sleep(RETRY);
                self.worker.register();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What an earlier registration was given and would never end, while it holds a slot.
    fn give_up_endless(&mut self) {
        for (due, assignment) in std::mem::take(&mut self.running) {
            if due.is_some() {
                self.running.push((due, assignment));
            } else {
                self.worker.report(&assignment, Verdict::Aborted, None);
            }
        }
    }

    /// Whoever does not listen any more is gone, and this process follows.
    fn say(&self, word: &Word) -> Result<(), Error> {
        let line = word.line(self.seat);
        let written = std::io::stdout().lock().write_all(line.as_bytes());
        written.map_err(Error::io("telling the harness"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written() {
        for word in [
            Word::Registered(WorkerId(7), Epoch(300)),
            Word::Evicted,
            Word::Got,
        ] {
            assert_eq!(Word::parse(word.line(12).trim_end()), (Some(12), word));
        }
        let (seat, word) = Word::parse("thread 'main' panicked");
        assert_eq!(seat, None);
        assert_eq!(word, Word::Failed("thread 'main' panicked".into()));
    }

    #[test]
    fn work_is_read_as_it_was_sent() {
        let short = Work {
            micros: 2_500,
            told: false,
        };
        for work in [short, Work::ENDLESS] {
            assert_eq!(Work::of(&work.payload()), Some(work));
        }
    }
}
