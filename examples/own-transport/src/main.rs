//! A transport of one's own: clients and workers of a dispatcher over a Unix socket.
//!
//! `transport.rs` is the transport, `frame.rs` its protocol. This file runs a dispatcher with it,
//! two workers and a client that connect to the socket like strangers, and checks that every task
//! comes back reversed.

mod frame;
mod transport;

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use taskyard_core::Config;
use taskyard_dispatcher::{Runner, RunnerOptions};

use crate::frame::{Bytes, Frame, Kind};
use crate::transport::UnixTransport;

const TASKS: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("own-transport-{}.sock", std::process::id()));
    let result = run(&path);
    std::fs::remove_file(&path)?;
    println!(
        "{} tasks went through {} and came back",
        result?,
        path.display()
    );
    Ok(())
}

fn run(path: &Path) -> Result<u64, Box<dyn Error>> {
    let transport = UnixTransport::bind(path)?;
    let runner = Runner::<Bytes>::start(Config::default(), RunnerOptions::default())?;
    let unparker = transport.unparker();
    let port = runner.with(move |dispatcher, _| dispatcher.attach(unparker))??;
    let stop = Arc::new(AtomicBool::new(false));
    let serving = thread::spawn({
        let stop = Arc::clone(&stop);
        move || transport.run(port, &stop)
    });
    let workers = ["one", "two"].map(|name| {
        let path = path.to_owned();
        thread::spawn(move || work(&path, name))
    });
    while runner.with(|dispatcher, _| dispatcher.workers_up())? < 2 {
        thread::sleep(Duration::from_millis(1));
    }
    let done = submit_all(path)?;
    stop.store(true, Ordering::Release);
    serving.join().map_err(|_| "the transport panicked")??;
    let ran: Vec<u64> = workers
        .into_iter()
        .filter_map(|worker| worker.join().ok())
        .collect();
    println!("the workers ran {ran:?}");
    Ok(done)
}

/// A client: keeps some tasks under way until all have their outcomes.
fn submit_all(path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Frame::new(Kind::Hello, 0, b"").send(&mut stream)?;
    let answer = Frame::receive(&mut stream)?;
    if answer.kind != Kind::Welcome {
        return Err(format!("a welcome was due, not {answer:?}").into());
    }
    let (mut submitted, mut done) = (0, 0);
    while done < TASKS {
        while submitted < TASKS && submitted - done < 16 {
            Frame::new(Kind::Submit, submitted, submitted.to_string().as_bytes())
                .send(&mut stream)?;
            submitted += 1;
        }
        let outcome = Frame::receive(&mut stream)?;
        let reversed: Vec<u8> = outcome.number.to_string().bytes().rev().collect();
        if !outcome.ok || outcome.payload.as_slice() != reversed {
            return Err(format!("task {} went wrong: {outcome:?}", outcome.number).into());
        }
        done += 1;
    }
    Ok(done)
}

/// A worker: runs what it is given until the transport goes away; answers how many that were.
fn work(path: &PathBuf, name: &str) -> u64 {
    let mut ran = 0;
    let Ok(mut stream) = UnixStream::connect(path) else {
        return ran;
    };
    if Frame::new(Kind::Register, 0, name.as_bytes())
        .send(&mut stream)
        .is_err()
    {
        return ran;
    }
    while let Ok(task) = Frame::receive(&mut stream) {
        let reversed: Vec<u8> = task.payload.iter().rev().copied().collect();
        let mut result = Frame::new(Kind::Result, task.number, &reversed);
        result.attempt = task.attempt;
        if result.send(&mut stream).is_err() {
            break;
        }
        ran += 1;
    }
    ran
}
