//! A worker process for the tests: `task-worker CONNECTION_FILE PREFIX COUNT [ENDPOINT | label=L]…`
//! runs COUNT workers named PREFIX.0, PREFIX.1, … until its standard input closes or it is killed.
//! They connect to where the connection file says, or, with its key, to another endpoint, and each
//! has all these labels.
//!
//! A payload is a command: `echo TEXT` gives the text back, `fail` fails, `sleep MS` takes its
//! time, `exit` ends the process at once, as a crash would.

use std::io::Read;
use std::thread;
use std::time::Duration;

use taskyard_core::Verdict;
use taskyard_zmq::{Context, ContextOptions, HostOptions, StopFlag, WorkerHost, ZmqPayload};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, prefix, count, more @ ..] = args.as_slice() else {
        return Err(
            "usage: task-worker CONNECTION_FILE PREFIX COUNT [ENDPOINT | label=L]...".into(),
        );
    };
    let context = Context::new(ContextOptions::default())?;
    let mut options = HostOptions::from_connection_file(file)?;
    for argument in more {
        match argument.strip_prefix("label=") {
            Some(label) => options.labels.push(label.to_owned()),
            None => options.endpoint = argument.parse()?,
        }
    }
    let names = (0..count.parse::<u32>()?).map(|index| format!("{prefix}.{index}"));
    let mut host = WorkerHost::connect(&context, &options, names)?;
    let stop = StopFlag::new();
    let theirs = stop.clone();
    thread::spawn(move || {
        // The test that started us holds the other end: it closes when the test ends, however it
        // does.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        theirs.stop();
    });
    host.run(|_, payload| run(payload), &stop)?;
    Ok(())
}

fn run(payload: &ZmqPayload) -> (Verdict, ZmqPayload) {
    let Some(command) = payload.bytes() else {
        // Several frames: they go back as they came.
        return (
            Verdict::Completed,
            taskyard_dispatcher::Payload::share(payload),
        );
    };
    let text = String::from_utf8_lossy(command);
    match text.split_once(' ').unwrap_or((&text, "")) {
        ("echo", rest) => (Verdict::Completed, ZmqPayload::from_bytes(rest.as_bytes())),
        ("sleep", ms) => {
            thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0)));
            (Verdict::Completed, ZmqPayload::from_bytes(b"slept"))
        }
        ("exit", _) => std::process::exit(3),
        _ => (Verdict::Failed, ZmqPayload::from_bytes(b"as asked")),
    }
}
