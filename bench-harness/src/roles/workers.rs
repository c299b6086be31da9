//! Many workers in one thread: each a DEALER socket of its own, each task's payload its result.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::Verdict;
use taskyard_dispatcher::Payload as _;
use taskyard_zmq::{
    Context, ContextOptions, HostOptions, Role, StopFlag, WorkerHost, raise_descriptor_limit,
    remote_descriptors,
};

use super::serve;
use crate::error::Error;
use crate::messages::{Ready, Report};

/// How long all of them may take to be admitted.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at how many are.
const LOOK: Duration = Duration::from_millis(2);
/// Sockets that the host itself makes beside the workers'.
const SOCKETS_BESIDE: u32 = 16;

/// Works until the process is ended.
pub(super) fn run(
    endpoint: &str,
    connection: Option<&Path>,
    count: u32,
    first: u32,
) -> Result<(), Error> {
    raise_descriptor_limit(remote_descriptors(count)).map_err(Error::system)?;
    // A worker that is sent on to another shard has two sockets for a moment.
    let sockets_max = u16::try_from(2 * count + SOCKETS_BESIDE).map_err(Error::system)?;
    let options = ContextOptions {
        sockets_max,
        ..ContextOptions::default()
    };
    let context = Context::new(options).map_err(Error::system)?;
    let credentials = super::credentials(connection, Role::Worker)?;
    let endpoint = endpoint.parse().map_err(Error::system)?;
    let options = HostOptions::new(endpoint).credentials(credentials);
    let names = (first..first + count).map(|number| format!("w{number}"));
    let mut host = WorkerHost::connect(&context, &options, names).map_err(Error::system)?;
    let registered = host.registered();
    let told = thread::spawn(move || {
        let began = Instant::now();
        while registered.get() < count as usize {
            if began.elapsed() > PATIENCE {
                let so_far = registered.get();
                let message = format!("only {so_far} of {count} workers were admitted in time");
                let _ = serve::say(&Report::Failed(message));
                return;
            }
            thread::sleep(LOOK);
        }
        // A parent that does not listen has gone, and this process follows it.
        let _ = serve::say(&Report::Ready(Ready::default()));
        serve::serve_in_background();
    });
    let ran = host.run(
        |_, payload| (Verdict::Completed, payload.share()),
        &StopFlag::new(),
    );
    drop(told);
    ran.map_err(Error::system)
}
