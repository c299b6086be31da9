//! The client program: submits what the seed says at a steady rate, writes down each submit before
//! and each outcome after, and obeys the director on its standard input.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use taskyard_core::{Outcome, TaskId};
use taskyard_protocol::Rejection;
use taskyard_zmq::{
    ClientEvent, ClientKey, ClientOptions, Context, ContextOptions, RemoteClient, Role, ZmqPayload,
};

use super::cast::credentials;
use super::ear::{Ear, Order};
use super::journal::{self, Fact, Journal};
use super::task::{AnswerCode, NONE, Quality, Read, Spec};
use crate::sim::mix;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// Tasks without an outcome that it has at most; more while it does not read, so that it finds out
/// what its quota is.
const WINDOW: usize = 400;
const WINDOW_AT_REST: usize = 2_000;
/// Sessions that one process may have.
const SESSIONS: u64 = 1_000_000;
/// The controller may be away for a while when a client begins.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client is started with.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) endpoint: String,
    pub(crate) seed: u64,
    pub(crate) workers: u64,
    pub(crate) number: u64,
    /// How many processes this client had before.
    pub(crate) incarnation: u64,
    pub(crate) per_second: u64,
    pub(crate) journal: PathBuf,
}

struct Client<'a> {
    part: &'a Part,
    remote: RemoteClient,
    journal: Journal,
    next_task: u64,
    /// When the next submit is due.
    next_due: Instant,
    finishing: bool,
    quiet: bool,
}

/// Runs until it is told to go, or the director's end of standard input closes.
pub(crate) fn play(part: &Part) -> Done<()> {
    let earlier = Earlier::read(part)?;
    let mut journal = Journal::open(&part.journal)?;
    journal.write(&Fact::Begun {
        client: part.number,
        incarnation: part.incarnation,
    })?;
    let context = Context::new(ContextOptions::default())?;
    let mut client = Client {
        part,
        remote: RemoteClient::connect(&context, &options(part)?)?,
        journal,
        next_task: earlier.next_task,
        next_due: Instant::now(),
        finishing: false,
        quiet: false,
    };
    // Before anything is read: an outcome of a task that it does not know would be passed over.
    for task in earlier.unanswered {
        client.submit(task, true)?;
    }
    let mut ear = Ear::default();
    loop {
        client.submit_due(WINDOW)?;
        client.read()?;
        match ear.listen(&client.remote, client.due())? {
            Some(Order::Go) => break,
            Some(Order::Rest(rest)) => client.rest(rest)?,
            Some(Order::Finish) => client.finishing = true,
            None => {}
        }
    }
    client.journal.write(&Fact::Farewell {
        client: part.number,
    })?;
    client.remote.goodbye();
    Ok(())
}

fn options(part: &Part) -> Done<ClientOptions> {
    let mut options = ClientOptions::new(part.endpoint.parse()?);
    options.credentials = credentials(&part.journal, Role::Client)?;
    options.connect_timeout = PATIENCE;
    let secret = mix(part.seed ^ part.number);
    options.key = Some(ClientKey {
        secret: u128::from(mix(secret)) << 64 | u128::from(secret),
        sessions_before: (part.incarnation * SESSIONS).try_into()?,
    });
    Ok(options)
}

/// What the earlier processes of this client have left behind.
#[derive(Debug, Default)]
struct Earlier {
    unanswered: BTreeSet<u64>,
    next_task: u64,
}

impl Earlier {
    fn read(part: &Part) -> Done<Self> {
        let mut earlier = Self {
            next_task: 1,
            ..Self::default()
        };
        if part.incarnation == 0 {
            return Ok(earlier);
        }
        for (_, fact) in journal::read(&part.journal)? {
            match fact {
                Fact::Submitted { task, .. } => {
                    earlier.unanswered.insert(task);
                    earlier.next_task = earlier.next_task.max(task + 1);
                }
                Fact::Answered { task, part: 0, .. } => {
                    earlier.unanswered.remove(&task);
                }
                _ => {}
            }
        }
        Ok(earlier)
    }
}

impl Client<'_> {
    fn spec(&self, task: u64) -> Spec {
        Spec::draw(self.part.seed, self.part.workers, self.part.number, task)
    }

    fn due(&self) -> Option<Instant> {
        (!self.finishing).then_some(self.next_due)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.part.per_second.max(1) as u32
    }

    fn submit_due(&mut self, window: usize) -> Done<()> {
        let now = Instant::now();
        while !self.finishing && self.next_due <= now && self.remote.outstanding() < window {
            let task = self.next_task;
            self.next_task += 1;
            self.next_due += self.interval();
            self.submit(task, false)?;
        }
        // What could not be submitted in time is not made up for.
        self.next_due = self.next_due.max(now);
        Ok(())
    }

    fn submit(&mut self, task: u64, again: bool) -> Done<()> {
        let spec = self.spec(task);
        let client = self.part.number;
        self.journal.write(&Fact::Submitted {
            client,
            task,
            again: again.into(),
        })?;
        let mut submit = spec.submit();
        submit.resent = again;
        let name = spec.name();
        self.remote
            .submit(submit, name.as_deref(), spec.payload())?;
        if spec.is_cancelled && self.remote.cancel(TaskId(task)) {
            self.journal.write(&Fact::CancelAsked { client, task })?;
        }
        Ok(())
    }

    fn read(&mut self) -> Done<()> {
        // Waiting for no time at all acknowledges what nothing else will.
        while let Some(event) = self.remote.wait(Duration::ZERO)? {
            self.handle(event)?;
        }
        let is_quiet = self.finishing && self.remote.outstanding() == 0;
        if is_quiet && !self.quiet {
            self.journal.write(&Fact::Quiet {
                client: self.part.number,
            })?;
        }
        self.quiet = is_quiet;
        Ok(())
    }

    /// Goes on submitting, and reads nothing.
    fn rest(&mut self, rest: Duration) -> Done<()> {
        let end = Instant::now() + rest;
        while Instant::now() < end {
            self.submit_due(WINDOW_AT_REST)?;
            std::thread::sleep(self.interval().min(rest));
        }
        Ok(())
    }

    fn handle(&mut self, event: ClientEvent<ZmqPayload>) -> Done<()> {
        let client = self.part.number;
        match event {
            ClientEvent::Outcome {
                task,
                outcome,
                worker,
                attempts,
                part,
                payload,
                ..
            } => {
                let (place, epoch) = match (outcome, worker) {
                    // How many parts there were, and how many were completed.
                    (Outcome::Summary { parts, completed }, _) => (parts.into(), completed.into()),
                    (_, Some((worker, epoch))) => (worker.0.into(), epoch.0.into()),
                    (_, None) => (NONE, NONE),
                };
                let (right, [worker, boot, handle, attempt]) = self.judge(task.0, payload);
                self.journal.write(&Fact::Answered {
                    client,
                    task: task.0,
                    code: AnswerCode::of(outcome).code(),
                    part: part.into(),
                    place,
                    epoch,
                    attempts: attempts.into(),
                    right: right as u64,
                    worker,
                    boot,
                    handle,
                    attempt,
                })?;
            }
            ClientEvent::Notice {
                task,
                attempt,
                worker: (worker, epoch),
                ..
            } => {
                self.journal.write(&Fact::Noticed {
                    client,
                    task: task.0,
                    attempt: attempt.into(),
                    place: worker.0.into(),
                    epoch: epoch.0.into(),
                })?;
            }
            ClientEvent::Welcome { resumed, .. } => {
                let resumed = resumed.into();
                self.journal.write(&Fact::Welcomed { client, resumed })?;
            }
            ClientEvent::Rejected(rejection) => {
                let code = rejection.to_code().into();
                self.journal.write(&Fact::Rejected { client, code })?;
                if rejection == Rejection::ClientsFull {
                    self.remote.hello();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a result is what the task must give, and which attempt it says it is of.
    fn judge(&self, task: u64, payload: Option<ZmqPayload>) -> (Quality, [u64; 4]) {
        let nobody = [NONE; 4];
        let Some(payload) = payload else {
            return (Quality::Nothing, nobody);
        };
        let Some(result) = Read::of(&payload, 4) else {
            return (Quality::Wrong, nobody);
        };
        let line = [0, 1, 2, 3].map(|index| result.line[index]);
        if self.spec(task).is_right(&result) {
            (Quality::Right, line)
        } else {
            (Quality::Wrong, line)
        }
    }
}
