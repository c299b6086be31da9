//! A controller, workers for commands, and what the program says.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use taskyard_tests::cluster::{ControllerProcess, PATIENCE, Process};

pub(crate) fn taskyard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskyard"));
    command
        .env_remove("TASKYARD_CONNECT")
        .env("RUST_LOG", "info");
    command
}

/// Runs a command against a controller, and waits for its end.
pub(crate) fn run(controller: &ControllerProcess, args: &[&str]) -> Output {
    let mut command = taskyard();
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .args(args);
    command.stdin(Stdio::null()).output().expect("it runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One object of JSON for each line.
pub(crate) fn json(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"));
    lines.collect()
}

/// Starts a worker for commands, and waits until it is registered.
pub(crate) fn exec_worker(controller: &ControllerProcess, name: &str, args: &[&str]) -> Process {
    let mut command = taskyard();
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .args(["worker", "--exec", "--name", name])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    if !args.contains(&"--grace") {
        command.args(["--grace", "300ms"]);
    }
    let mut child = command.spawn().expect("a worker starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let is_up = lines.any(|line| line.expect("a line").contains("registered"));
    assert!(is_up, "the worker is registered");
    // It goes on talking: somebody must read that.
    std::thread::spawn(move || lines.for_each(drop));
    Process(child)
}

pub(crate) fn send(process: &Process, signal: Signal) {
    let pid = i32::try_from(process.0.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has a number"), signal).expect("it can be sent a signal");
}

#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it is never so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process with this in its command line is there; not the one that looks.
pub(crate) fn is_there(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten();
    processes
        .map(|process| process.path())
        .any(|process| command_line(&process).contains(mark))
}

fn command_line(process: &Path) -> String {
    let bytes = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    // Those who only speak of it do not count.
    match text.contains("sleep") && !text.contains("submit") {
        true => text,
        false => String::new(),
    }
}
