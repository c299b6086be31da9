//! Programs that are started here: shown, bounded in time, and ended with all their children.

use std::fs;
use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::output::say;
use crate::verdict::NotPassed;

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a program that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command with its output shown, and waits for its success.
///
/// # Errors
///
/// `Failed` if it cannot be started, ends with an error, or takes longer than `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), NotPassed> {
    let shown = show(command);
    say!("$ {shown}");
    // Inherited standard input would let a test wait for a person.
    command.stdin(Stdio::null());
    match status_within(command, limit) {
        Ok(Ended::Itself(status)) if status.success() => Ok(()),
        Ok(Ended::Itself(status)) => Err(NotPassed::failed(format!("`{shown}`: {status}"))),
        Ok(Ended::Killed) => Err(NotPassed::failed(format!(
            "`{shown}`: hung, killed after {limit:?}"
        ))),
        Err(error) => Err(NotPassed::failed(format!(
            "`{shown}` cannot be run: {error}"
        ))),
    }
}

/// Whether a command can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a short command for what it prints on stdout; `None` if it fails.
pub(crate) fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// How a bounded program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself, within the limit.
    Itself(ExitStatus),
    /// Killed, because the limit was over.
    Killed,
}

/// Runs a command for at most `limit`.
///
/// # Errors
///
/// If it cannot be started or waited for.
pub(crate) fn status_within(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    io::stdout().flush()?;
    let mut child = command.spawn()?;
    if let Some(status) = wait(&mut child, limit)? {
        return Ok(Ended::Itself(status));
    }
    end_tree(&mut child)?;
    Ok(Ended::Killed)
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Ends a program with everything that it started: politely, then not.
///
/// A process group would be simpler, but would also take ^C at a terminal away from the children.
fn end_tree(child: &mut Child) -> io::Result<()> {
    let family = family_of(child.id());
    signal("-TERM", &family);
    if wait(child, GRACE)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    // Its own children may have outlived it; a number that is gone already is no error.
    signal("-KILL", &family[1..]);
    Ok(())
}

fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        succeeds(
            Command::new("kill")
                .arg(name)
                .args(pids.iter().map(u32::to_string)),
        );
    }
}

/// A process and its living descendants, it first. Without `/proc` it is only itself.
fn family_of(pid: u32) -> Vec<u32> {
    let pairs = parents();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            pairs
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    family
}

/// Pairs of (process, its parent) of all processes.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_in_stat(&stat)?))
    })
    .collect()
}

/// The parent in a line of `/proc/PID/stat`: `12 (any name) S 7 …`. A name may hold `)` and spaces.
fn parent_in_stat(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// The command as a person would type it, without its folder.
fn show(command: &Command) -> String {
    let envs = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    // Neither is typed: where things are built, and a path that only puts a folder in front.
    let envs = envs.filter(|(name, _)| *name != "CARGO_TARGET_DIR" && *name != "PATH");
    let envs = envs.map(|(name, value)| format!("{}={:?}", name.display(), value.display()));
    let program = command.get_program().display().to_string();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let args = command.get_args().map(|arg| arg.display().to_string());
    envs.chain([program])
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn success_and_failure_are_told_apart() {
        assert_eq!(run(&mut Command::new("true"), LONG), Ok(()));
        let Err(NotPassed::Failed(reason)) = run(&mut Command::new("false"), LONG) else {
            panic!("`false` passed")
        };
        assert!(reason.contains("`false`"), "{reason}");
    }

    #[test]
    fn a_missing_program_is_a_failure_not_a_panic() {
        let result = run(&mut Command::new("no-such-program-anywhere"), LONG);
        assert!(matches!(result, Err(NotPassed::Failed(_))));
        assert!(!succeeds(&mut Command::new("no-such-program-anywhere")));
    }

    #[test]
    fn a_hung_program_ends_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let mut child = command.spawn().unwrap();
        while cfg!(target_os = "linux") && family_of(child.id()).len() < 2 {
            thread::sleep(POLL);
        }
        let family = family_of(child.id());
        end_tree(&mut child).unwrap();
        // A killed orphan is gone, or a zombie until somebody reaps it; it may take a moment.
        let is_running = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while family[1..].iter().any(is_running) {
            thread::sleep(POLL);
        }
    }

    #[test]
    fn the_parent_is_read_behind_any_name() {
        assert_eq!(parent_in_stat("12 (a) b) (c) S 7 12 12"), Some(7));
        assert_eq!(parent_in_stat("12 (cut"), None);
        assert_eq!(parent_in_stat(""), None);
    }

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/some/where/cargo");
        command
            .args(["test", "-p", "x"])
            .env("RUSTFLAGS", "--cfg loom");
        command.env("CARGO_TARGET_DIR", "/elsewhere");
        assert_eq!(show(&command), "RUSTFLAGS=\"--cfg loom\" cargo test -p x");
    }
}
