//! One command of a worker: starts its guard, takes what it prints, and hears how it ends.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use taskyard_core::Stream;
use taskyard_zmq::OUTPUT_MAX as PIECE_MAX;

use super::guard::{Ended, GUARD};
use crate::payload::{Asked, CommandText, OUTPUT_MAX};

/// How long a pipe may be silent once the guard is gone: somebody out of reach still has it.
const DRAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Where a command prints, in the order of its pipes.
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// What a command has printed, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Printed {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl Printed {
    fn add(&mut self, bytes: &[u8]) {
        let room = OUTPUT_MAX - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes.extend(&bytes[..bytes.len().min(room)]);
    }
}

/// All there is to say about a command.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) ended: Ended,
    pub(super) stdout: Printed,
    pub(super) stderr: Printed,
}

impl Report {
    /// It was never run; standard error says why, as a shell's would.
    pub(super) fn refused(error: &io::Error, program: &str) -> Self {
        Self::ended(
            Ended::refused(error, program),
            Printed::default(),
            Printed::default(),
        )
    }

    fn ended(ended: Ended, stdout: Printed, mut stderr: Printed) -> Self {
        if let Some(why) = &ended.refused {
            stderr.add(format!("taskyard worker: {why}\n").as_bytes());
        }
        Self {
            ended,
            stdout,
            stderr,
        }
    }
}

/// Orders for a command that runs.
#[derive(Debug)]
pub(super) struct Handle(UnixStream);

impl Handle {
    /// Ends it: politely, and by force after a grace.
    pub(super) fn end(&mut self) {
        self.say(b"T");
    }

    /// Ends it by force.
    pub(super) fn kill(&mut self) {
        self.say(b"K");
    }

    fn say(&mut self, word: &[u8]) {
        // A guard that is gone has nothing left to end.
        let _ = self.0.write_all(word);
    }
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    guard: Child,
    socket: UnixStream,
}

/// Starts a command; what cannot even be tried is a result like another.
pub(super) fn start(
    asked: &Asked,
    worker: &str,
    grace: Duration,
) -> Result<(Running, Handle), Report> {
    let (argv, text) = argv_of(asked);
    let program = argv[0].to_string_lossy().into_owned();
    let start = || {
        let (ours, theirs) = UnixStream::pair()?;
        let orders = ours.try_clone()?;
        let guard = guard(&argv, text, worker, grace, theirs)?;
        let running = Running {
            guard,
            socket: ours,
        };
        Ok((running, Handle(orders)))
    };
    start().map_err(|error| Report::refused(&error, &program))
}

fn argv_of(asked: &Asked) -> (Vec<OsString>, &CommandText) {
    match asked {
        Asked::Program(argv, text) => (argv.iter().map(OsString::from).collect(), text),
        Asked::Shell(shell, text) => {
            let shell = OsString::from_vec(shell.clone());
            let argv = [OsStr::new("/bin/sh"), OsStr::new("-c"), &shell];
            (argv.map(OsStr::to_owned).into(), text)
        }
    }
}

fn guard(
    argv: &[OsString],
    text: &CommandText,
    worker: &str,
    grace: Duration,
    socket: UnixStream,
) -> io::Result<Child> {
    // By this name it is the same program even if its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .args([GUARD, "--grace-ms", &grace.as_millis().to_string(), "--"])
        .args(argv)
        .env("TASKYARD_WORKER", worker)
        .envs(&text.env)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the worker, which tells its commands.
        .process_group(0);
    if let Some(folder) = &text.cwd {
        if !Path::new(folder).is_dir() {
            let what = format!("there is no folder {folder} here");
            return Err(io::Error::other(what));
        }
        command.current_dir(folder);
    }
    command.spawn()
}

impl Running {
    /// Takes what it prints, and passes it on, until it has ended, and all that it has started.
    pub(super) fn attend(mut self, mut pass_on: impl FnMut(Stream, &[u8])) -> Report {
        let mut printed = [Printed::default(), Printed::default()];
        let mut said = Vec::new();
        let pipes = [
            self.guard.stdout.take().map(OwnedFd::from),
            self.guard.stderr.take().map(OwnedFd::from),
        ];
        let mut sources = pipes.map(|pipe| pipe.map(File::from));
        let mut socket = Some(File::from(OwnedFd::from(self.socket)));
        let mut buffer = vec![0; PIECE_MAX];
        while socket.is_some() || sources.iter().any(Option::is_some) {
            let Some(ready) = wait(&sources, socket.as_ref()) else {
                break;
            };
            for (index, is_ready) in ready.into_iter().enumerate() {
                let source = sources.get_mut(index).unwrap_or(&mut socket);
                let Some(file) = source.as_mut().filter(|_| is_ready) else {
                    continue;
                };
                match file.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => *source = None,
                    Ok(count) => match printed.get_mut(index) {
                        Some(printed) => {
                            printed.add(&buffer[..count]);
                            pass_on(STREAMS[index], &buffer[..count]);
                        }
                        None => said.extend(&buffer[..count]),
                    },
                }
            }
        }
        // It has said all that it will say.
        let _ = self.guard.wait();
        let ended = serde_json::from_slice(&said).unwrap_or_else(|_| Ended {
            code: None,
            signal: None,
            refused: Some("the command's guard was killed".into()),
        });
        let [stdout, stderr] = printed;
        Report::ended(ended, stdout, stderr)
    }
}

/// Which of standard output, standard error and the socket can be read; `None` if the guard is gone
/// and the rest is silent.
fn wait(sources: &[Option<File>; 2], socket: Option<&File>) -> Option<[bool; 3]> {
    let files = [sources[0].as_ref(), sources[1].as_ref(), socket];
    let open: Vec<_> = (0..3).filter(|index| files[*index].is_some()).collect();
    let mut fds: Vec<_> = files
        .iter()
        .flatten()
        .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN))
        .collect();
    let patience = socket.is_none().then_some(&DRAIN);
    match poll(&mut fds, patience) {
        Ok(0) => None,
        Ok(_) => {
            let mut ready = [false; 3];
            for (index, fd) in open.into_iter().zip(&fds) {
                ready[index] = !fd.revents().is_empty();
            }
            Some(ready)
        }
        Err(rustix::io::Errno::INTR) => Some([false; 3]),
        Err(_) => None,
    }
}
