//! A Python worker that holds the interpreter's lock for far longer than the heartbeats' timeout:
//! its libzmq answers by itself, so it is not taken for dead.
//!
//! The worker is the one printed in docs/PROTOCOL.md, which computes instead of answering in upper
//! case. `TASKYARD_PYTHON` names a Python with pyzmq; `cargo xtask test --only python` provides it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use taskyard_core::{Outcome, Submit, Target};
use taskyard_tests::cluster::{ControllerProcess, Process, next_outcome, submit};
use taskyard_zmq::{Context, ContextOptions, Role};

const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(600);

/// What the documented worker does with a payload begins and ends so.
const SHOUTS: [&str; 2] = ["result, sent = (", ").upper(), sent + 1"];
/// What this one does: a power in one call of the interpreter, larger and larger until one has
/// taken as many milliseconds as the payload says. It answers with how many the longest took: so
/// long no other thread of the interpreter ran.
const COMPUTES: [&str; 2] = ["result, sent = hold(", "), sent + 1"];
const HOLD: &str = r#"
import time

def hold(payload):
    digits, longest = 20_000, 0.0
    while longest < int(payload) / 1000:
        began = time.monotonic()
        pow(7, digits * digits // 400, 10 ** digits + 1)
        longest, digits = time.monotonic() - began, digits * 5 // 4
    return b"%d" % (longest * 1000)

controller, name ="#;

/// The documented worker, with other work.
fn program(folder: &Path) -> PathBuf {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    let text = fs::read_to_string(page).expect("the document is there");
    let blocks = text.split("```python\n").skip(1);
    let worker = blocks
        .filter_map(|block| block.split("```").next())
        .find(|block| block.starts_with("# worker.py"))
        .expect("the document has a worker");
    let mut worker = worker.replacen("\ncontroller, name =", HOLD, 1);
    for (shouts, computes) in SHOUTS.into_iter().zip(COMPUTES) {
        assert!(worker.contains(shouts), "the document has another worker");
        worker = worker.replacen(shouts, computes, 1);
    }
    let path = folder.join("worker.py");
    fs::write(&path, worker).expect("a file can be written");
    path
}

#[test]
fn a_worker_that_holds_the_interpreter_lock_is_not_taken_for_dead() {
    let Some(python) = std::env::var_os("TASKYARD_PYTHON") else {
        println!("skipped: TASKYARD_PYTHON names no Python with pyzmq");
        return;
    };
    let folder = std::env::temp_dir().join(format!("taskyard-lock-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let timeout_ms = HEARTBEAT_TIMEOUT.as_millis().to_string();
    let controller = ControllerProcess::start(&[
        "--heartbeat-interval-ms",
        "200",
        "--heartbeat-timeout-ms",
        &timeout_ms,
    ]);
    let mut command = Command::new(python);
    command
        .arg(program(&folder))
        .arg(controller.file_of(Role::Worker))
        .arg("busy");
    let _worker = Process(command.spawn().expect("a worker starts"));
    let mut client = controller.client(&Context::new(ContextOptions::default()).expect("one"));
    // The first task waits until there is a worker, and takes no time.
    let hold_ms = HEARTBEAT_TIMEOUT.as_millis() * 5;
    for millis in [0, hold_ms] {
        let task = client.next_task_id();
        let once = Submit::new(task, Target::Any).attempts(1);
        submit(&mut client, once, &millis.to_string());
        let seen = next_outcome(&mut client);
        assert_eq!((seen.task, seen.outcome), (task, Outcome::Completed));
        let said = String::from_utf8_lossy(&seen.frames[0]).into_owned();
        let held_ms: u128 = said.parse().expect("a number");
        assert!(held_ms >= millis, "it held the lock for {held_ms} ms only");
    }
    fs::remove_dir_all(&folder).expect("the folder can be removed");
}
