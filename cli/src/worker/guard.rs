//! The process between a worker and one command: whatever happens to the worker, the command and
//! all that it has started end.
//!
//! ```text
//!  worker ══socket══▶ guard ──▶ command ──▶ its children, and theirs
//! ```
//! The guard's standard input is one end of a socket. `T` there, a signal, or the socket's end
//! (however the worker died) ends the command: SIGTERM to its process group, and SIGKILL to all of
//! it after a grace, which whoever is left in the group has even if the command itself was faster;
//! `K` kills at once. The guard adopts what its descendants leave behind, so that
//! nothing gets away by a process group or session of its own. When all of it is gone it says on
//! the socket how the command has ended.
//!
//! A process group's number stays the command's own until the command is reaped. So signals are
//! sent under a lock, and under the same lock it is reaped, last of all.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, getpid, kill_process, kill_process_group,
    set_child_subreaper, waitid,
};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The hidden command that makes this program a guard.
pub(crate) const GUARD: &str = "__guard";

/// Shells say this of a command that is not there, and of one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_RUN: i32 = 126;

/// How soon it is seen that all of a group have followed an order to end.
const LOOK: Duration = Duration::from_millis(10);

/// What a guard is started with.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// From SIGTERM to SIGKILL.
    #[arg(long)]
    grace_ms: u64,
    /// The command.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// How a command has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Its exit code, if it has one.
    pub(super) code: Option<i32>,
    /// The signal that ended it, if one did.
    pub(super) signal: Option<i32>,
    /// Why it was never run.
    pub(super) refused: Option<String>,
}

impl Ended {
    /// It was never run.
    pub(super) fn refused(error: &io::Error, program: &str) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_RUN,
        };
        Self {
            code: Some(code),
            signal: None,
            refused: Some(format!("cannot run {program}: {error}")),
        }
    }

    fn of(status: ExitStatus) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
            refused: None,
        }
    }
}

/// What to do to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    End,
    Kill,
}

/// Runs one command, and says how it has ended.
///
/// # Errors
/// The system refuses what it should not.
pub(crate) fn run(args: &GuardArgs) -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    set_child_subreaper(Some(getpid()))?;
    let (orders, received) = channel();
    listen(socket.try_clone()?, orders.clone())?;
    heed_signals(orders)?;
    let ended = match start(&args.argv) {
        Ok(child) => watch(child, received, Duration::from_millis(args.grace_ms))?,
        Err(error) => Ended::refused(&error, &args.argv[0].to_string_lossy()),
    };
    let mut line = serde_json::to_vec(&ended)?;
    line.push(b'\n');
    match socket.write_all(&line) {
        // The worker is gone; that was the reason to end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn start(argv: &[OsString]) -> io::Result<Child> {
    Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
}

/// The end of the socket is an order, too.
fn listen(mut socket: UnixStream, orders: Sender<Order>) -> io::Result<()> {
    let named = thread::Builder::new().name("ty-orders".into());
    named.spawn(move || {
        loop {
            let mut byte = [0];
            let (order, is_last) = match socket.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(1) if byte == *b"K" => (Order::Kill, false),
                Ok(1) => (Order::End, false),
                Ok(_) | Err(_) => (Order::End, true),
            };
            if orders.send(order).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

fn heed_signals(orders: Sender<Order>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let named = thread::Builder::new().name("ty-signals".into());
    named.spawn(move || {
        for _ in signals.forever() {
            if orders.send(Order::End).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// The command's process group, as long as it may be sent signals.
#[derive(Debug)]
struct Group {
    leader: Mutex<Option<Pid>>,
    /// It was told to end, and its grace lasts.
    has_grace: AtomicBool,
}

impl Group {
    const fn new(leader: Pid) -> Self {
        Self {
            leader: Mutex::new(Some(leader)),
            has_grace: AtomicBool::new(false),
        }
    }

    fn signal(&self, signal: Signal) {
        let group = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *group {
            // Nobody left in it is what we want.
            let _ = kill_process_group(group, signal);
        }
    }

    fn end(&self) {
        // Ordering: the flag is all that is handed over, here and below.
        self.has_grace.store(true, Ordering::Relaxed);
        self.signal(Signal::TERM);
        // One that is stopped hears it then.
        self.signal(Signal::CONT);
    }

    fn kill(&self) {
        self.has_grace.store(false, Ordering::Relaxed);
        self.signal(Signal::KILL);
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = *leader {
            // It may have left its group.
            let _ = kill_process(leader, Signal::KILL);
        }
    }

    /// Waits until those that were told to end have, as long as their grace lasts: a shell is gone
    /// at once, what it runs may have to put something in order.
    fn await_the_rest(&self, leader: Pid) {
        while self.has_grace.load(Ordering::Relaxed) {
            let rest = children().into_iter().filter(|child| *child != leader);
            // One that has ended and was not reaped is gone as well.
            let reaped = |child: &Pid| {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                !matches!(waitid(WaitId::Pid(*child), options), Ok(None))
            };
            let mut there = rest.filter(|child| !reaped(child));
            if !there.any(|child| getpgid(Some(child)) == Ok(leader)) {
                return;
            }
            thread::sleep(LOOK);
        }
    }

    /// No more signals from here on.
    fn close(&self) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Waits for the command's end and takes all away that it leaves behind.
fn watch(mut child: Child, orders: Receiver<Order>, grace: Duration) -> io::Result<Ended> {
    let pid = Pid::from_child(&child);
    let group = Arc::new(Group::new(pid));
    let keeper = Arc::clone(&group);
    let named = thread::Builder::new().name("ty-keeper".into());
    named.spawn(move || keep(&keeper, &orders, grace))?;
    // Not reaped: its number must stay its own.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), options) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    group.await_the_rest(pid);
    group.kill();
    while let Some(orphan) = children().into_iter().find(|child| *child != pid) {
        let _ = kill_process(orphan, Signal::KILL);
        // Its own children are ours by then.
        let _ = waitid(WaitId::Pid(orphan), WaitIdOptions::EXITED);
    }
    group.close();
    child.wait().map(Ended::of)
}

/// Carries orders out.
fn keep(group: &Group, orders: &Receiver<Order>, grace: Duration) {
    let Ok(first) = orders.recv() else { return };
    if first == Order::End {
        group.end();
        let due = Instant::now() + grace;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match orders.recv_timeout(left) {
                // Heard already.
                Ok(Order::End) => {}
                Ok(Order::Kill) | Err(RecvTimeoutError::Timeout) => break,
                // Nobody is left to say more, which says nothing new.
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(left);
                    break;
                }
            }
        }
    }
    group.kill();
}

/// Those whose parent is this process: started by it, or left behind by its descendants.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let listed = lists.collect::<Vec<_>>().join(" ");
    let numbers = listed
        .split_whitespace()
        .filter_map(|number| number.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}
