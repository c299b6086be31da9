//! A child process: started from this very program, spoken to by lines, never left behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::host::{host, this_program};
use crate::messages::{Command, Ready, Report, Role};

/// Longer than any block or start takes, lost tasks included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a child may take to leave once it is told to.
const GRACE: Duration = Duration::from_secs(2);

/// The hidden first argument that makes this program a child.
pub(crate) const ROLE: &str = "role";

/// A running child. Dropped, it is told to end, and killed if it does not.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    /// `None` once the child was told to end: the end of its input is the word.
    input: Option<ChildStdin>,
    reports: Receiver<Report>,
}

impl Child {
    /// Starts a child; [`ready`](Self::ready) waits for it, so that several start at once.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn start(name: impl Into<String>, role: &Role) -> Result<Self, Error> {
        let name = name.into();
        let role = serde_json::to_string(role).map_err(Error::system)?;
        let mut process = Program::new(this_program()?)
            .args(host().prefix)
            .args([ROLE, &role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is the parent's alone: else each child would end first, and look like a fault.
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {name}")))?;
        let input = process.stdin.take();
        let output = process
            .stdout
            .take()
            .expect("stdout is piped, and taken once");
        let (sender, reports) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let report = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(report) = report else { break };
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            name,
            process,
            input,
            reports,
        })
    }

    /// Waits until it is up.
    ///
    /// # Errors
    /// When it fails, in its own words.
    pub(crate) fn ready(&mut self) -> Result<Ready, Error> {
        match self.next_report()? {
            Report::Ready(ready) => Ok(ready),
            other => Err(self.puzzled(&other)),
        }
    }

    /// Tells it something and waits for the answer.
    ///
    /// # Errors
    /// When it fails, is gone, or does not answer for a minute.
    pub(crate) fn ask(&mut self, command: &Command) -> Result<Report, Error> {
        let mut line = serde_json::to_string(command).map_err(Error::system)?;
        line.push('\n');
        let input = self.input.as_mut().expect("only a drop takes the input");
        if input.write_all(line.as_bytes()).is_err() {
            // Its last words, if it left some, say more than the broken pipe.
            return self.next_report();
        }
        self.next_report()
    }

    /// What the child answers instead of what it should.
    pub(crate) fn puzzled(&self, report: &Report) -> Error {
        Error::Child {
            role: self.name.clone(),
            what: format!("answered {report:?}"),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn next_report(&self) -> Result<Report, Error> {
        let what = match self.reports.recv_timeout(PATIENCE) {
            Ok(Report::Failed(message)) => {
                return Err(Error::Role {
                    role: self.name.clone(),
                    message,
                });
            }
            Ok(report) => return Ok(report),
            Err(RecvTimeoutError::Disconnected) => "ended",
            Err(RecvTimeoutError::Timeout) => "does not answer",
        };
        Err(Error::Child {
            role: self.name.clone(),
            what: what.into(),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        let told = Instant::now();
        while told.elapsed() < GRACE {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // An error here means that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
