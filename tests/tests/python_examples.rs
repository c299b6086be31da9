//! The Python programs printed in docs/PROTOCOL.md, run as they stand against a real controller.
//!
//! `TASKYARD_PYTHON` names a Python with pyzmq; `cargo xtask test --only python` provides it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use taskyard_core::{Outcome, Submit, Target};
use taskyard_tests::cluster::{ControllerProcess, Process, await_workers, next_outcome, submit};
use taskyard_zmq::{Context, ContextOptions, Role};

/// The blocks of Python in the document, in its order: the client, then the worker.
fn programs(folder: &Path) -> [PathBuf; 2] {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    let text = fs::read_to_string(page).expect("the document is there");
    let blocks: Vec<&str> = text
        .split("```python\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block ends"))
        .collect();
    let [client, worker] = blocks.as_slice() else {
        panic!(
            "the document has {} blocks of Python, not two",
            blocks.len()
        );
    };
    [("client.py", client), ("worker.py", worker)].map(|(name, block)| {
        let path = folder.join(name);
        fs::write(&path, block).expect("a file can be written");
        path
    })
}

fn python() -> Command {
    Command::new(std::env::var_os("TASKYARD_PYTHON").expect("TASKYARD_PYTHON names a Python"))
}

#[test]
fn the_documented_client_and_worker_work_together_and_with_ours() {
    let folder = std::env::temp_dir().join(format!("taskyard-python-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let [client_program, worker_program] = programs(&folder);
    let controller = ControllerProcess::start(&["--shards", "2"]);
    let _workers: Vec<Process> = ["one", "two", "three"]
        .iter()
        .map(|name| {
            let mut command = python();
            command
                .arg(&worker_program)
                .arg(controller.file_of(Role::Worker))
                .arg(name);
            Process(command.spawn().expect("a worker starts"))
        })
        .collect();

    let mut ours = controller.client(&Context::new(ContextOptions::default()).expect("a context"));
    await_workers(&mut ours, 3);
    let task = ours.next_task_id();
    submit(&mut ours, Submit::new(task, Target::Any), "from rust");
    let seen = next_outcome(&mut ours);
    assert_eq!(
        (seen.outcome, seen.frames),
        (Outcome::Completed, vec![b"FROM RUST".to_vec()])
    );

    let words: Vec<String> = (0..200).map(|n| format!("word{n}")).collect();
    let mut command = python();
    command
        .arg(&client_program)
        .arg(controller.file_of(Role::Client))
        .args(&words)
        .stderr(Stdio::inherit());
    let output = command.output().expect("the client runs");
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).expect("text");
    let seen: BTreeSet<&str> = lines.lines().collect();
    let expected: BTreeSet<String> = words
        .iter()
        .zip(1..)
        .map(|(w, n)| format!("{n} completed b'{}'", w.to_uppercase()))
        .collect();
    assert_eq!(seen, expected.iter().map(String::as_str).collect());
    fs::remove_dir_all(&folder).expect("the folder can be removed");
}
