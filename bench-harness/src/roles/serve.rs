//! A child's side of the conversation with its parent.

use std::io::{BufRead as _, Write as _};
use std::thread;
use std::time::Duration;

use crate::alloc;
use crate::error::Error;
use crate::link::Link;
use crate::measure::Meter;
use crate::messages::{Command, Endpoints, Ready, Report};
use crate::options::Topic;

/// How long a client that only submits looks after what it has submitted.
const QUEUE_LOOKS: u32 = 30;
const QUEUE_LOOK: Duration = Duration::from_millis(10);

/// Reports one line.
pub(super) fn say(report: &Report) -> Result<(), Error> {
    let mut line = serde_json::to_string(report).map_err(Error::system)?;
    line.push('\n');
    let mut output = std::io::stdout().lock();
    output
        .write_all(line.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::io("reporting to the harness"))
}

/// Reports that it is up, and where its peers attach.
pub(super) fn say_ready_at(endpoints: Endpoints, mode: Option<String>) -> Result<(), Error> {
    let endpoints = Some(endpoints);
    say(&Report::Ready(Ready { endpoints, mode }))
}

/// Hands each command to `serve` and reports what it says, until the parent has no more.
fn serve_commands(mut serve: impl FnMut(Command) -> Result<Report, Error>) -> Result<(), Error> {
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::io("reading commands of the harness"))?;
        let command = serde_json::from_str(&line).map_err(Error::system)?;
        say(&serve(command)?)?;
    }
    Ok(())
}

/// Answers the parent beside the real work of a role that never ends by itself, and ends the
/// process when the parent is done with it. The sockets' peers are about to be ended too: nothing
/// is owed.
pub(super) fn serve_in_background() {
    thread::spawn(|| {
        let served = serve_commands(|command| match command {
            Command::Allocations => Ok(Report::Allocations(alloc::count())),
            Command::Measure(_) | Command::Queue { .. } => {
                Err(Error::System("only a client can do that".into()))
            }
        });
        if let Err(error) = &served {
            let _ = say(&Report::Failed(error.to_string()));
        }
        std::process::exit(i32::from(served.is_err()));
    });
}

/// The whole life of a client: measures blocks until the parent has no more.
pub(super) fn serve_client<L: Link>(link: L) -> Result<(), Error> {
    let mut meter = Meter::new(link);
    serve_commands(|command| match command {
        Command::Measure(trial) => meter.run(&trial).map(Report::Block),
        Command::Queue { tasks } => queue(meter.link_mut(), tasks),
        Command::Allocations => Ok(Report::Allocations(alloc::count())),
    })
}

fn queue<L: Link>(link: &mut L, tasks: u32) -> Result<Report, Error> {
    for _ in 0..tasks {
        link.submit(Topic::Any)?;
    }
    // What found no room on its way leaves only while somebody looks after it.
    for _ in 0..QUEUE_LOOKS {
        link.wait(QUEUE_LOOK)?;
    }
    Ok(Report::Done)
}
