//! The worker program: one worker that runs what it is told, writes down each start before it does
//! anything else, and obeys the director on its standard input.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use taskyard_core::Verdict;
use taskyard_protocol::Rejection;
use taskyard_zmq::{
    Assignment, Context, ContextOptions, RemoteWorker, Role, WorkerEvent, WorkerOptions, ZmqPayload,
};

use super::cast::credentials;
use super::ear::{Ear, Order};
use super::journal::{Fact, Journal};
use super::task::{Read, worker_name};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Until a worker whose name is taken asks again: its predecessor's death may not be noticed yet.
const RETRY: Duration = Duration::from_millis(200);

/// What a worker is started with.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) endpoint: String,
    pub(crate) number: u64,
    pub(crate) slots: u16,
    pub(crate) prefetch: u16,
    pub(crate) journal: PathBuf,
}

struct Running {
    assignment: Assignment,
    command: Read,
    due: Instant,
}

struct Worker {
    number: u64,
    remote: RemoteWorker,
    journal: Journal,
    running: Vec<Running>,
    /// When to ask again for a place.
    retry: Option<Instant>,
}

/// Runs until the director's end of standard input closes.
pub(crate) fn play(part: &Part) -> Outcome<()> {
    let context = Context::new(ContextOptions::default())?;
    let options = WorkerOptions::new(part.endpoint.parse()?, worker_name(part.number))
        .slots(part.slots)
        .prefetch(part.prefetch)
        .credentials(credentials(&part.journal, Role::Worker)?);
    let mut worker = Worker {
        number: part.number,
        remote: RemoteWorker::connect(&context, &options)?,
        journal: Journal::open(&part.journal)?,
        running: Vec::new(),
        retry: None,
    };
    let mut ear = Ear::default();
    loop {
        worker.report_due()?;
        while let Some(event) = worker.remote.poll()? {
            worker.handle(event)?;
        }
        match ear.listen(&worker.remote, worker.next_due())? {
            Some(Order::Go) => break,
            // Its connection is served by libzmq's thread all the same.
            Some(Order::Rest(rest)) => std::thread::sleep(rest),
            Some(Order::Finish) | None => {}
        }
    }
    worker.remote.leave();
    Ok(())
}

impl Worker {
    fn next_due(&self) -> Option<Instant> {
        let running = self.running.iter().map(|running| running.due);
        running
            .chain(self.retry)
            .chain(self.remote.next_due())
            .min()
    }

    fn handle(&mut self, event: WorkerEvent<ZmqPayload>) -> Outcome<()> {
        match event {
            WorkerEvent::Registered { worker, epoch } => {
                self.journal.write(&Fact::Registered {
                    worker: self.number,
                    place: worker.0.into(),
                    epoch: epoch.0.into(),
                })?;
            }
            WorkerEvent::Task(assignment, payload) => self.start(assignment, &payload)?,
            WorkerEvent::Abort(assignment) => {
                self.running
                    .retain(|running| running.assignment != assignment);
                self.remote.report(&assignment, Verdict::Aborted, None);
            }
            WorkerEvent::Evicted => self.remote.register(),
            WorkerEvent::Rejected(Rejection::NameTaken | Rejection::WorkersFull) => {
                self.retry = Some(Instant::now() + RETRY);
            }
            WorkerEvent::Rejected(rejection) => {
                return Err(format!("the controller does not understand us: {rejection}").into());
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, assignment: Assignment, payload: &ZmqPayload) -> Outcome<()> {
        let command = Read::of(payload, 4).ok_or("a task without a command")?;
        let [client, task, run_ms, _] = command.line[..] else {
            return Err("a task without a command".into());
        };
        self.journal.write(&Fact::Started {
            worker: self.number,
            client,
            task,
            boot: assignment.boot,
            handle: assignment.handle.to_bits(),
            attempt: assignment.attempt.0.into(),
        })?;
        self.running.push(Running {
            assignment,
            command,
            due: Instant::now() + Duration::from_millis(run_ms),
        });
        Ok(())
    }

    fn report_due(&mut self) -> Outcome<()> {
        let now = Instant::now();
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            self.remote.register();
        }
        let is_due = |running: &mut Running| running.due <= now;
        for running in self.running.extract_if(.., is_due) {
            let Running {
                assignment,
                command,
                ..
            } = running;
            let (handle, attempt) = (assignment.handle.to_bits(), assignment.attempt.0);
            let result = command.result(self.number, assignment.boot, handle, attempt);
            let verdict = if command.line[3] == 1 {
                Verdict::Failed
            } else {
                Verdict::Completed
            };
            self.remote.report(&assignment, verdict, Some(result));
            self.journal.write(&Fact::Reported {
                worker: self.number,
                client: command.line[0],
                task: command.line[1],
                boot: assignment.boot,
                handle,
                attempt: attempt.into(),
            })?;
        }
        Ok(())
    }
}
