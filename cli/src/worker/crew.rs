//! The commands that a worker runs at once, and what is heard of them and of signals.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use taskyard_core::{Stream, Verdict};
use taskyard_zmq::{Assignment, ZmqPayload};

use super::command::{self, Handle, Report};
use crate::failure::Failure;
use crate::payload::{self, Asked, ResultText};

/// What the worker's thread is told by others.
#[derive(Debug)]
pub(super) enum News {
    /// A command and all that it had started is gone.
    Ended(Assignment, Verdict, Option<ZmqPayload>),
    /// A command has printed something.
    Printed(Assignment, Stream, Vec<u8>),
    /// The process was sent a signal.
    Signal(i32),
}

/// Pieces of output and ends of commands that may be on their way to the worker's thread: beyond
/// that, a command that prints waits for it.
const HEARD_MAX: usize = 64;

#[derive(Debug)]
enum Heard {
    Report(Assignment, Report),
    Printed(Assignment, Stream, Vec<u8>),
    Signal(i32),
}

/// A way to tell the worker's thread something, which wakes it.
#[derive(Debug)]
struct Teller {
    heard: SyncSender<Heard>,
    bell: UnixStream,
}

impl Teller {
    fn tell(&mut self, heard: Heard) {
        // Nobody listens any more only when all is over.
        let _ = self.heard.send(heard);
        // A bell that is full of rings has been rung.
        let _ = self.bell.write(&[1]);
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            heard: self.heard.clone(),
            bell: self.bell.try_clone()?,
        })
    }
}

/// A command that runs, as the worker's thread sees it.
#[derive(Debug)]
struct Member {
    handle: Handle,
    aborted: bool,
}

/// The commands that run.
#[derive(Debug)]
pub(super) struct Crew {
    worker: String,
    grace: Duration,
    members: HashMap<Assignment, Member>,
    /// What could not even be started.
    refused: VecDeque<(Assignment, Report)>,
    heard: Receiver<Heard>,
    bell: UnixStream,
    teller: Teller,
}

impl Crew {
    /// None yet; from here on SIGTERM and SIGINT are news.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub(super) fn new(worker: String, grace: Duration) -> Result<Self, Failure> {
        let make = || -> io::Result<Self> {
            let (bell, ringer) = UnixStream::pair()?;
            bell.set_nonblocking(true)?;
            ringer.set_nonblocking(true)?;
            let (sender, heard) = sync_channel(HEARD_MAX);
            let teller = Teller {
                heard: sender,
                bell: ringer,
            };
            heed_signals(teller.try_clone()?)?;
            Ok(Self {
                worker,
                grace,
                members: HashMap::new(),
                refused: VecDeque::new(),
                heard,
                bell,
                teller,
            })
        };
        make().map_err(Failure::system("starting the worker"))
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Starts a command; that it cannot be started is told as its end.
    pub(super) fn start(&mut self, assignment: Assignment, asked: &Asked) {
        let refused = match command::start(asked, &self.worker, self.grace) {
            Ok((running, handle)) => {
                let member = Member {
                    handle,
                    aborted: false,
                };
                self.members.insert(assignment, member);
                let named = thread::Builder::new().name("ty-command".into());
                let teller = self.teller.try_clone();
                let spawned = teller.and_then(|mut teller| {
                    named.spawn(move || {
                        let report = running.attend(|stream, bytes| {
                            teller.tell(Heard::Printed(assignment, stream, bytes.to_vec()));
                        });
                        teller.tell(Heard::Report(assignment, report));
                    })
                });
                // Without a thread the socket closes, and the guard ends the command.
                spawned.err().map(|error| Report::refused(&error, "it"))
            }
            Err(report) => Some(report),
        };
        if let Some(report) = refused {
            self.refused.push_back((assignment, report));
        }
    }

    /// Ends a command; false if it does not run.
    pub(super) fn abort(&mut self, assignment: &Assignment) -> bool {
        let member = self.members.get_mut(assignment);
        let found = member.map(|member| {
            member.aborted = true;
            member.handle.end();
        });
        found.is_some()
    }

    /// Ends all by force, and at once.
    pub(super) fn kill(&mut self) {
        for member in self.members.values_mut() {
            member.handle.kill();
        }
    }

    /// What there is to hear now.
    pub(super) fn news(&mut self) -> Option<News> {
        // The bell first: what is told after this rings it again.
        let mut rings = [0; 64];
        while matches!(self.bell.read(&mut rings), Ok(1..)) {}
        if let Some((assignment, report)) = self.refused.pop_front() {
            return Some(self.ended(assignment, &report));
        }
        Some(match self.heard.try_recv().ok()? {
            Heard::Signal(signal) => News::Signal(signal),
            Heard::Printed(assignment, stream, bytes) => News::Printed(assignment, stream, bytes),
            Heard::Report(assignment, report) => self.ended(assignment, &report),
        })
    }

    fn ended(&mut self, assignment: Assignment, report: &Report) -> News {
        let member = self.members.remove(&assignment);
        let aborted = member.is_some_and(|member| member.aborted);
        let (verdict, result) = verdict(report, aborted);
        News::Ended(assignment, verdict, result)
    }
}

/// To sleep on: readable when there may be news.
impl AsFd for Crew {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn verdict(report: &Report, aborted: bool) -> (Verdict, Option<ZmqPayload>) {
    let Report {
        ended,
        stdout,
        stderr,
    } = report;
    let verdict = match (ended.code, aborted) {
        // It was faster than the order to end.
        (Some(0), _) => Verdict::Completed,
        (_, true) => return (Verdict::Aborted, None),
        (_, false) => Verdict::Failed,
    };
    let how = ResultText {
        code: ended.code,
        signal: ended.signal,
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
    };
    let result = payload::write_result(&how, &stdout.bytes, &stderr.bytes);
    (verdict, Some(result))
}

fn heed_signals(mut teller: Teller) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let named = thread::Builder::new().name("ty-signals".into());
    named.spawn(move || {
        for signal in signals.forever() {
            teller.tell(Heard::Signal(signal));
        }
    })?;
    Ok(())
}
