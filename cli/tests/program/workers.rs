//! Workers for commands: nothing of what they started outlives what it was started for.

use std::process::{Child, Stdio};

use rustix::process::Signal;
use taskyard_tests::cluster::{ControllerProcess, Process};

use crate::support::{exec_worker, is_there, json, run, send, stdout, taskyard, until};

fn submit(controller: &ControllerProcess, text: &str) -> Child {
    let mut command = taskyard();
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .args(["submit", "--attempts-on-loss", "1", "--shell", "--", text])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().expect("it starts")
}

#[test]
fn an_abort_ends_the_whole_tree_also_what_hides_in_a_session_of_its_own() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &[]);
    let text = "trap '' TERM; setsid sleep 98201 & sleep 98202 & wait; sleep 98203";
    let submit = Process(submit(&controller, text));
    until(|| is_there("sleep 98201") && is_there("sleep 98202"));
    let output = run(&controller, &["queue", "list", "--json"]);
    let task = &json(&output)[0];
    let (client, number) = (task["client"].to_string(), task["task"].to_string());
    run(&controller, &["queue", "remove", &client, &number]);
    until(|| {
        !["98201", "98202", "98203"]
            .iter()
            .any(|mark| is_there(mark))
    });
    assert_eq!({ submit }.wait().code(), Some(122));
}

#[test]
fn what_a_shell_runs_has_its_grace_although_the_shell_is_gone_at_once() {
    let controller = ControllerProcess::start(&["--abort-grace-ms", "90000"]);
    // Of a long grace it takes only what it needs.
    let _worker = exec_worker(&controller, "one", &["--grace", "60s"]);
    let folder = taskyard_tests::cluster::Scratch::new();
    std::fs::create_dir_all(folder.path()).expect("a folder can be made");
    let marks = folder.path().display();
    let inner = format!(
        "trap 'sleep 0.5; touch {marks}/bye; exit' TERM; touch {marks}/up; \
         while :; do sleep 0.1; done"
    );
    let mut command = taskyard();
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .env("INNER", &inner)
        .args(["submit", "--env", "INNER", "--shell", "--"])
        .arg("sh -c \"$INNER\"; true")
        .stderr(Stdio::null());
    let mut submit = Process(command.spawn().expect("it starts"));
    until(|| folder.path().join("up").exists());
    send(&submit, Signal::INT);
    assert_eq!(submit.wait().code(), Some(130));
    assert!(
        folder.path().join("bye").exists(),
        "it was killed too early"
    );
}

#[test]
fn a_killed_worker_leaves_nothing_behind() {
    let controller = ControllerProcess::start(&[]);
    let mut worker = exec_worker(&controller, "one", &["--slots", "2"]);
    let mut tasks = [98_301, 98_302].map(|mark| {
        let text = format!("setsid sleep {mark} & trap '' TERM; sleep {mark}");
        Process(submit(&controller, &text))
    });
    until(|| is_there("sleep 98301") && is_there("sleep 98302"));
    worker.kill();
    until(|| !is_there("sleep 98301") && !is_there("sleep 98302"));
    for task in &mut tasks {
        assert_eq!(task.wait().code(), Some(121));
    }
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_first_and_at_once_when_asked_twice() {
    let controller = ControllerProcess::start(&[]);
    let mut worker = exec_worker(&controller, "one", &[]);
    let task = submit(&controller, "sleep 1.98401; echo done");
    until(|| is_there("sleep 1.98401"));
    send(&worker, Signal::TERM);
    assert!(worker.wait().success());
    let output = task.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "done\n")
    );
    let mut worker = exec_worker(&controller, "two", &[]);
    let mut task = Process(submit(&controller, "trap '' TERM; sleep 98402"));
    until(|| is_there("sleep 98402"));
    send(&worker, Signal::INT);
    until(|| {
        // The first may be on its way still: two at once are one.
        send(&worker, Signal::INT);
        worker.0.try_wait().expect("it can be asked").is_some()
    });
    worker.wait();
    until(|| !is_there("sleep 98402"));
    assert_eq!(task.wait().code(), Some(121));
}

#[test]
fn a_worker_ends_when_asked_although_its_controller_is_gone() {
    let mut controller = ControllerProcess::start(&[]);
    let mut worker = exec_worker(&controller, "one", &[]);
    controller.process.kill();
    send(&worker, Signal::TERM);
    assert!(worker.wait().success());
}

#[test]
fn a_worker_comes_back_to_a_controller_that_was_started_again() {
    let folder = taskyard_tests::cluster::Scratch::new();
    let dir = folder.path().to_string_lossy().into_owned();
    let mut controller = ControllerProcess::start(&["--connection-dir", &dir]);
    let _worker = exec_worker(&controller, "one", &[]);
    controller.process.kill();
    let controller = ControllerProcess::start(&["--connection-dir", &dir]);
    let output = run(&controller, &["submit", "--", "echo", "again"]);
    assert_eq!(stdout(&output), "again\n");
}

#[test]
fn a_busy_worker_that_is_asked_to_end_loses_nothing() {
    let controller = ControllerProcess::start(&[]);
    let mut leaving = exec_worker(&controller, "leaving", &[]);
    let _staying = exec_worker(&controller, "staying", &[]);
    let mut tasks: Vec<_> = (0..30)
        .map(|_| Process(submit(&controller, "sleep 0.05")))
        .collect();
    send(&leaving, Signal::TERM);
    assert!(leaving.wait().success());
    for task in &mut tasks {
        assert_eq!(task.wait().code(), Some(0));
    }
}
