//! A worker that runs each payload as a command: one thread talks to the controller, and one per
//! running command takes what it prints.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use taskyard_core::Verdict;
use taskyard_protocol::Rejection;
use taskyard_zmq::{
    Assignment, Context, ContextOptions, RemoteWorker, WorkerEvent, WorkerOptions, ZmqPayload,
};

use super::WorkerArgs;
use super::crew::{Crew, News};
use crate::failure::Failure;
use crate::payload;

/// How long to wait after a registration was refused or is over.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a worker that leaves waits for the controller: to say that nothing more comes, and to
/// have its results.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the worker is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Takes tasks.
    Working,
    /// Has asked for no more, and still takes what is on its way, until the controller says so; or
    /// until then, if it has nothing to do: there may be no controller any more.
    Asked(Instant),
    /// Takes no more; leaves when what runs has ended.
    Finishing,
    /// Leaves when the controller has the results, and by then at the latest.
    Leaving(Instant),
}

struct Worker {
    remote: RemoteWorker,
    crew: Crew,
    stage: Stage,
    /// When to register again.
    register_at: Option<Instant>,
}

/// Runs commands until it is told to end.
///
/// # Errors
/// The connection file cannot be used, or the controller will never take this worker.
pub(super) fn run(args: &WorkerArgs, file: &Path) -> Result<(), Failure> {
    crate::serve::start_log();
    let name = args.name();
    let options = WorkerOptions::from_connection_file(file, &name)?
        .slots(args.slots)
        .labels(&args.labels);
    let crew = Crew::new(name.clone(), args.grace.0)?;
    let context = Context::new(ContextOptions::default())?;
    let remote = RemoteWorker::connect(&context, &options)?;
    tracing::info!(name, slots = args.slots, endpoint = %options.endpoint, "a worker for commands");
    let mut worker = Worker {
        remote,
        crew,
        stage: Stage::Working,
        register_at: None,
    };
    worker.run()
}

impl Worker {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            self.catch_up()?;
            if self.is_over() {
                self.remote.leave();
                return Ok(());
            }
            self.sleep()?;
        }
    }

    /// Until nothing is left to hear: its descriptor tells news only once.
    fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(event) = self.remote.poll()? {
                self.handle(event)?;
            } else if let Some(news) = self.crew.news() {
                self.hear(news);
            } else if self
                .register_at
                .take_if(|due| *due <= Instant::now())
                .is_some()
            {
                self.remote.register();
            } else {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, event: WorkerEvent<ZmqPayload>) -> Result<(), Failure> {
        match event {
            WorkerEvent::Registered { worker, .. } => {
                tracing::info!(worker = worker.0, "registered");
                if matches!(self.stage, Stage::Asked(_)) {
                    self.remote.drain();
                }
            }
            WorkerEvent::Task(assignment, payload) => self.begin(&assignment, &payload),
            WorkerEvent::Abort(assignment) => self.abort(&assignment),
            WorkerEvent::Drain => {
                tracing::info!("nothing more comes: leaving when all is done");
                if matches!(self.stage, Stage::Working | Stage::Asked(_)) {
                    self.stage = Stage::Finishing;
                }
            }
            WorkerEvent::Evicted => {
                tracing::warn!("the controller took this worker for lost: registering again");
                self.register_at = Some(Instant::now() + PAUSE);
            }
            WorkerEvent::Rejected(rejection) => self.rejected(rejection)?,
            // Followed already; what is of a later version needs nothing.
            _ => {}
        }
        Ok(())
    }

    /// What may pass is tried again for ever.
    fn rejected(&mut self, rejection: Rejection) -> Result<(), Failure> {
        if matches!(
            rejection,
            Rejection::Malformed | Rejection::Version | Rejection::Kind
        ) {
            return Err(Failure::Worker(self.remote.name().to_owned(), rejection));
        }
        tracing::warn!("{rejection}: trying again");
        self.register_at = Some(Instant::now() + PAUSE);
        Ok(())
    }

    fn begin(&mut self, assignment: &Assignment, payload: &ZmqPayload) {
        if !matches!(self.stage, Stage::Working | Stage::Asked(_)) {
            // It is told as lost when we leave, and another worker gets it.
            return;
        }
        match payload::read_command(payload) {
            Ok(asked) => self.crew.start(*assignment, &asked),
            Err(why) => {
                let said = payload::write_refusal(&why, self.remote.name());
                self.remote.report(assignment, Verdict::Failed, Some(said));
            }
        }
    }

    fn abort(&mut self, assignment: &Assignment) {
        if !self.crew.abort(assignment) {
            // One that was never begun.
            self.remote.report(assignment, Verdict::Aborted, None);
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Ended(assignment, verdict, result) => {
                self.remote.report(&assignment, verdict, result);
            }
            News::Printed(assignment, stream, bytes) => {
                // Lossy by intention: the result brings what is dropped here.
                let piece = ZmqPayload::from_bytes(&bytes);
                let _ = self.remote.output(&assignment, stream, piece);
            }
            News::Signal(signal) if self.stage == Stage::Working => {
                let running = self.crew.len();
                tracing::info!(signal, running, "finishing what runs; again: at once");
                self.remote.drain();
                self.stage = Stage::Asked(Instant::now() + FAREWELL);
            }
            News::Signal(signal) => {
                tracing::info!(signal, "ending at once");
                self.crew.kill();
                self.stage = Stage::Leaving(Instant::now());
            }
        }
    }

    fn is_over(&mut self) -> bool {
        // Without a controller nothing is on its way.
        let is_last = match self.stage {
            Stage::Finishing => true,
            Stage::Asked(due) => self.remote.registered().is_none() || due <= Instant::now(),
            _ => false,
        };
        if is_last && self.crew.len() == 0 {
            self.stage = Stage::Leaving(Instant::now() + FAREWELL);
        }
        match self.stage {
            Stage::Leaving(due) => self.remote.unacknowledged() == 0 || due <= Instant::now(),
            _ => false,
        }
    }

    fn sleep(&mut self) -> Result<(), Failure> {
        let leave_at = match self.stage {
            Stage::Leaving(due) => Some(due),
            // With commands that run it waits for their ends.
            Stage::Asked(due) if self.crew.len() == 0 => Some(due),
            _ => None,
        };
        let due = [self.remote.next_due(), self.register_at, leave_at];
        let left = due
            .into_iter()
            .flatten()
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let fds = &mut [
            PollFd::from_borrowed_fd(self.remote.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.crew.as_fd(), PollFlags::IN),
        ];
        match poll(fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::system("waiting for the controller")(error.into())),
        }
    }
}
