//! `taskyard submit`: what is printed, and the exit codes.

use std::process::Stdio;

use rustix::process::Signal;
use taskyard_tests::cluster::{ControllerProcess, Process};

use crate::support::{exec_worker, is_there, json, run, send, stderr, stdout, taskyard, until};

#[test]
fn it_prints_and_exits_as_the_command_did() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &["--label", "gpu"]);
    let submit = |args: &[&str]| run(&controller, &[&["submit"], args].concat());
    let output = submit(&["--", "echo", "a b", "c"]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "a b c\n")
    );
    let output = submit(&["--shell", "--", "echo out; echo err >&2; exit 7"]);
    let said = (output.status.code(), stdout(&output), stderr(&output));
    assert_eq!(said, (Some(7), "out\n".into(), "err\n".into()));
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["--", "no-such-program"],
            127,
            "cannot run no-such-program",
        ),
        (&["--", "/etc/passwd"], 126, "cannot run /etc/passwd"),
        (&["--shell", "--", "kill -9 $$"], 137, "signal 9"),
        (
            &["--worker", "nobody", "--", "true"],
            120,
            "no worker with that name",
        ),
        (
            &["--finish-within", "300ms", "--", "sleep", "60"],
            124,
            "--finish-within",
        ),
        (
            &["--cwd", "/no/where", "--", "true"],
            126,
            "no folder /no/where",
        ),
        (
            &["--label", "none", "--start-within", "300ms", "--", "true"],
            124,
            "--start-within",
        ),
    ];
    for (args, code, says) in cases {
        let output = submit(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(
            said.contains(says) && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
    let output = submit(&[
        "--label",
        "gpu",
        "--cwd",
        "/",
        "--env",
        "A=1",
        "--priority",
        "7",
        "--retries",
        "1",
        "--shell",
        "--",
        "echo $A $TASKYARD_WORKER; pwd",
    ]);
    assert_eq!(stdout(&output), "1 one\n/\n");
}

#[test]
fn all_workers_answer_with_their_names_and_one_failure_shows() {
    let controller = ControllerProcess::start(&[]);
    let _one = exec_worker(&controller, "one", &[]);
    let _two = exec_worker(&controller, "two", &[]);
    let text = "echo a; echo b; test $TASKYARD_WORKER = one";
    let output = run(&controller, &["submit", "--all", "--shell", "--", text]);
    assert_eq!(output.status.code(), Some(123));
    let said = stdout(&output);
    let mut lines: Vec<_> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one: a", "one: b", "two: a", "two: b"]);
    assert!(
        stderr(&output).contains("1 of 2 workers"),
        "{}",
        stderr(&output)
    );
    let output = run(&controller, &["submit", "--all", "--json", "--", "true"]);
    let objects = json(&output);
    assert_eq!((output.status.code(), objects.len()), (Some(0), 3));
    assert_eq!(objects[2]["completed"], 2);
}

#[test]
fn a_name_is_as_it_is_for_programs_and_harmless_for_people() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "o\"dd\x1b", &[]);
    let output = run(&controller, &["submit", "--json", "--", "true"]);
    assert_eq!(json(&output)[0]["worker"], "o\"dd\x1b");
    let output = run(&controller, &["submit", "--all", "--", "echo", "a"]);
    assert!(!stdout(&output).contains('\x1b') && stdout(&output).contains("u{1b}: a"));
}

#[test]
fn more_than_a_pipe_holds_arrives_whole_and_once() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &[]);
    let output = run(&controller, &["submit", "--", "seq", "1", "300000"]);
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(stdout(&output) == expected, "{} bytes", output.stdout.len());
}

#[test]
fn ctrl_c_cancels_the_task_and_its_processes() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &[]);
    let mut command = taskyard();
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .args(["submit", "--shell", "--", "sleep 98101 & sleep 98101"])
        .stderr(Stdio::piped());
    let mut submit = Process(command.spawn().expect("it starts"));
    until(|| is_there("sleep 98101"));
    send(&submit, Signal::INT);
    assert_eq!(submit.wait().code(), Some(130));
    let mut said = String::new();
    let pipe = submit.0.stderr.take().expect("a pipe");
    std::io::Read::read_to_string(&mut { pipe }, &mut said).expect("text");
    assert!(
        said.contains("cancelling") && said.contains("cancelled while it ran"),
        "{said}"
    );
    until(|| !is_there("sleep 98101"));
}

#[test]
fn a_task_ends_when_nobody_reads_what_it_prints() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &[]);
    let mut command = taskyard();
    let text = "sleep 98111 & while echo more; do sleep 0.1; done";
    command
        .env("TASKYARD_CONNECT", &controller.connection)
        .args(["submit", "--shell", "--", text])
        .stdout(Stdio::piped());
    let mut submit = Process(command.spawn().expect("it starts"));
    until(|| is_there("sleep 98111"));
    drop(submit.0.stdout.take());
    assert_eq!(submit.wait().code(), Some(141));
    until(|| !is_there("sleep 98111"));
}

#[test]
fn without_a_controller_it_is_not_submitted() {
    let mut command = taskyard();
    let nowhere = ["submit", "--connect", "/nowhere/at/all.json", "--", "true"];
    let output = command.args(nowhere).output().expect("it runs");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(stderr(&output).lines().count(), 1);
}
