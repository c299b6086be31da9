//! The commands that a worker runs at once, and what is heard of them and of signals.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use taskyard_core::Verdict;
use taskyard_zmq::{Assignment, ZmqPayload};

use super::command::{self, Handle, Report};
use crate::failure::Failure;
use crate::payload::{self, Asked, ResultText};

/// What the worker's thread is told by others.
#[derive(Debug)]
pub(super) enum News {
    /// A command and all that it had started is gone.
    Ended(Assignment, Verdict, Option<ZmqPayload>),
    /// The process was sent a signal.
    Signal(i32),
}

#[derive(Debug)]
enum Heard {
    Report(Assignment, Report),
    Signal(i32),
}

/// A way to tell the worker's thread something, which wakes it.
#[derive(Debug)]
struct Teller {
    heard: Sender<Heard>,
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
            let (sender, heard) = channel();
            let teller = Teller {
                heard: sender,
                bell: ringer,
            };
            heed_signals(teller.try_clone()?)?;
            Ok(Self {
                worker,
                grace,
                members: HashMap::new(),
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
                        teller.tell(Heard::Report(assignment, running.attend()));
                    })
                });
                // Without a thread the socket closes, and the guard ends the command.
                spawned.err().map(|error| Report::refused(&error, "it"))
            }
            Err(report) => Some(report),
        };
        if let Some(report) = refused {
            self.teller.tell(Heard::Report(assignment, report));
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
        Some(match self.heard.try_recv().ok()? {
            Heard::Signal(signal) => News::Signal(signal),
            Heard::Report(assignment, report) => {
                let member = self.members.remove(&assignment);
                let aborted = member.is_some_and(|member| member.aborted);
                let (verdict, result) = verdict(&report, aborted);
                News::Ended(assignment, verdict, result)
            }
        })
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
