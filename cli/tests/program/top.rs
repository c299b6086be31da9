//! `taskyard top` on a terminal of its own: `script` makes one.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use taskyard_tests::cluster::{ControllerProcess, Process};

use crate::support::{exec_worker, run, until};

#[test]
fn top_shows_workers_says_when_nobody_answers_and_quits() {
    let is_there = Command::new("script").arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: there is no `script` (util-linux) to make a terminal");
        return;
    }
    let mut controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "node-1", &["--slots", "2", "--label", "gpu"]);
    run(&controller, &["submit", "--", "true"]);
    let top = format!(
        "stty cols 80 rows 24; exec {} top --every 200ms --timeout 1s",
        env!("CARGO_BIN_EXE_taskyard")
    );
    let child = Command::new("script")
        .args(["-qfec", &top, "/dev/null"])
        .env("TASKYARD_CONNECT", &controller.connection)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut script = Process(child.expect("it starts"));
    let mut keys = script.0.stdin.take().expect("a pipe");
    let mut output = script.0.stdout.take().expect("a pipe");
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            sink.lock().expect("nobody panics with it").push_str(&text);
        }
    });
    let has = |words: &[&str]| {
        let seen = seen.lock().expect("nobody panics with it");
        words.iter().all(|word| seen.contains(word))
    };
    until(|| {
        has(&[
            "taskyard",
            "submitted",
            "completed",
            "node-1",
            "gpu",
            "p99",
            "0/2",
        ])
    });
    controller.process.kill();
    until(|| has(&["answer,"]));
    keys.write_all(b"q").expect("it listens");
    assert!(script.wait().success());
    // It leaves the terminal as it was: the main screen, with a cursor.
    until(|| has(&["\u{1b}[?1049l", "\u{1b}[?25h"]));
}
