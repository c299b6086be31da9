//! The rest of the commands: what they print parses, and mistakes are one line.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use taskyard_tests::cluster::{ControllerProcess, Process, Scratch};

use crate::support::{exec_worker, json, run, send, stderr, stdout, taskyard};

#[test]
fn everything_that_lists_prints_objects_when_asked() {
    let controller = ControllerProcess::start(&[]);
    let _worker = exec_worker(&controller, "one", &["--label", "a\"b"]);
    run(&controller, &["submit", "--", "true"]);
    let cases: [(&[&str], &str); 4] = [
        (&["workers", "--json"], "name"),
        (&["queue", "depth", "--json"], "total"),
        (&["queue", "purge", "--all", "--json"], "purged"),
        (&["status", "--over", "100ms", "--json"], "to_outcome_us"),
    ];
    for (args, field) in cases {
        let output = run(&controller, args);
        let objects = json(&output);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        assert_eq!(objects.len(), 1, "{args:?}");
        assert!(!objects[0][field].is_null(), "{args:?}: {}", objects[0]);
    }
    let status = &json(&run(&controller, &["status", "--over", "100ms", "--json"]))[0];
    assert_eq!(
        (&status["workers"]["up"], &status["counters"]["completed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(status["to_outcome_us"]["count"], 1);
    let text = stdout(&run(&controller, &["status", "--over", "100ms"]));
    for word in ["controller", "1 up", "waiting", "rates", "p99", "losses"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn a_controller_ends_with_its_standard_input() {
    let scratch = Scratch::new();
    let anywhere = "tcp://127.0.0.1:*";
    let child = taskyard()
        .args(["controller", "--clients", anywhere, "--workers", anywhere])
        .args(["--exit-with-stdin", "--connection-dir"])
        .arg(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut controller = Process(child.expect("it starts"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(
        controller.0.try_wait().expect("it can be asked").is_none(),
        "it runs on"
    );
    drop(controller.0.stdin.take());
    assert!(controller.wait().success());
}

#[test]
fn connection_files_are_found_and_wrong_ones_told() {
    let scratch = Scratch::new();
    let state = scratch.path().join("taskyard");
    std::fs::create_dir_all(&state).expect("a folder");
    let look = |args: &[&str]| {
        let mut command = taskyard();
        command.env("XDG_RUNTIME_DIR", scratch.path()).args(args);
        command.output().expect("it runs")
    };
    let none = look(&["workers"]);
    assert!(
        stderr(&none).contains("for the role operator"),
        "{}",
        stderr(&none)
    );
    let below = state.join("mine").to_string_lossy().into_owned();
    let mut controller = ControllerProcess::start(&["--connection-dir", &below]);
    assert!(
        look(&["workers"]).status.success(),
        "the newest below the state folder"
    );
    let wrong = format!("{below}/taskyard-worker.json");
    let wrong = look(&["workers", "--connect", &wrong]);
    assert!(stderr(&wrong).contains("of a worker"), "{}", stderr(&wrong));
    controller.process.kill();
    let stale = look(&["workers", "--timeout", "500ms"]);
    assert!(
        stderr(&stale).contains("not the file that it wrote last"),
        "{}",
        stderr(&stale)
    );
    for output in [none, wrong, stale] {
        assert_eq!(
            (output.status.code(), stderr(&output).lines().count()),
            (Some(1), 1)
        );
    }
}

#[test]
fn a_python_without_the_package_is_told_in_one_line() {
    let controller = ControllerProcess::start(&[]);
    for (python, says) in [
        ("/bin/false", "does not have"),
        ("/no/python", "cannot be run"),
    ] {
        let output = run(&controller, &["worker", "--python", python]);
        let said = stderr(&output);
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(said.contains(says) && said.contains("--exec"), "{said}");
    }
}

#[test]
fn a_shell_completes_it_and_the_manual_has_a_page_for_each() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = taskyard()
            .args(["completions", shell])
            .output()
            .expect("it runs");
        assert!(
            stdout(&output).contains("submit") && !stdout(&output).is_empty(),
            "{shell}"
        );
    }
    let scratch = Scratch::new();
    let output = taskyard()
        .arg("man")
        .arg(scratch.path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    for page in [
        "taskyard.1",
        "taskyard-submit.1",
        "taskyard-queue-purge.1",
        "taskyard-top.1",
    ] {
        assert!(scratch.path().join(page).exists(), "{page}");
    }
}

#[test]
fn the_harness_answers_under_this_name() {
    let output = taskyard()
        .args(["bench", "--workers", "0"])
        .output()
        .expect("it runs");
    assert!(
        stderr(&output).starts_with("taskyard bench: --workers 0"),
        "{}",
        stderr(&output)
    );
    let scratch = Scratch::new();
    let args = "bench --workers 1 --transport zmq-ipc --duration 0.05 --rate 200 --out";
    let output = taskyard()
        .args(args.split(' '))
        .arg(scratch.path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = std::fs::read_to_string(scratch.path().join("summary.json"));
    let summary: serde_json::Value =
        serde_json::from_str(&summary.expect("a summary")).expect("JSON");
    assert!(
        summary["points"]
            .as_array()
            .is_some_and(|points| !points.is_empty())
    );
}

#[test]
fn a_controller_and_its_workers_outlive_whoever_reads_their_logs() {
    let folder = Scratch::new();
    let start = |args: &[&str]| {
        let mut command = taskyard();
        command
            .env("TASKYARD_CONNECT", folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Process(command.spawn().expect("it starts"))
    };
    let here = folder.path().to_string_lossy();
    let mut controller = start(&[
        "controller",
        "--clients",
        "tcp://127.0.0.1:*",
        "--workers",
        "tcp://127.0.0.1:*",
        "--connection-dir",
        &here,
    ]);
    let said = BufReader::new(controller.0.stdout.take().expect("a pipe"));
    let mut said = said.lines();
    assert!(said.any(|line| line.expect("a line").starts_with("connection")));
    drop(controller.0.stderr.take());
    let mut worker = start(&["worker", "--exec", "--name", "one"]);
    drop(worker.0.stderr.take());
    let mut submit = start(&["submit", "--", "true"]);
    assert_eq!(submit.wait().code(), Some(0));
    let mut refused = start(&["submit", "--worker", "nobody", "--", "true"]);
    drop(refused.0.stderr.take());
    assert_eq!(refused.wait().code(), Some(120));
    for process in [&mut worker, &mut controller] {
        send(process, Signal::TERM);
        assert!(process.wait().success());
    }
}
