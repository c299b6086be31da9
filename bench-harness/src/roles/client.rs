//! The client: the remote client that any Rust program links, told when to send.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;
use taskyard_core::{Outcome, Submit, Target, WorkerId};
use taskyard_dispatcher::Payload as _;
use taskyard_zmq::{
    ClientEvent, ClientOptions, Context, ContextOptions, RemoteClient, Role, ZmqPayload,
};

use super::inproc::outcome_name;
use super::serve;
use crate::error::Error;
use crate::link::{Answer, Link};
use crate::messages::{Ready, Report};
use crate::options::Topic;

/// How long the first task may take: it also finds out which workers there are.
const FIRST_TASK: Duration = Duration::from_secs(10);
/// Sleeps end within a microsecond of their time; the kernel's usual slack is fifty.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// Measures until the parent has no more commands.
pub(super) fn run(endpoint: &str, connection: Option<&Path>, payload: u32) -> Result<(), Error> {
    tighten_timers();
    let context = Context::new(ContextOptions::default()).map_err(Error::system)?;
    let endpoint = endpoint.parse().map_err(Error::system)?;
    let credentials = super::credentials(connection, Role::Client)?;
    let options = ClientOptions::new(endpoint).credentials(credentials);
    let client = RemoteClient::connect(&context, &options).map_err(Error::system)?;
    let bytes = vec![0x5a; payload as usize];
    let link = RemoteLink {
        client,
        payload: ZmqPayload::from_bytes(&bytes),
        bytes,
        one_worker: None,
        early: None,
        repeats: 0,
    };
    serve::say(&Report::Ready(Ready::default()))?;
    serve::serve_client(link)
}

/// An open loop sleeps until the next task is due, and every microsecond too long is counted. Where
/// this is refused, timers are just less exact.
fn tighten_timers() {
    let _ = set_current_timer_slack(Some(TIMER_SLACK_NS));
}

struct RemoteLink {
    client: RemoteClient,
    payload: ZmqPayload,
    bytes: Vec<u8>,
    /// The worker of the `worker` topic: the one that answered first.
    one_worker: Option<WorkerId>,
    /// What came while waiting.
    early: Option<ClientEvent<ZmqPayload>>,
    /// Second outcomes that the client has withheld so far.
    repeats: u64,
}

impl Link for RemoteLink {
    fn submit(&mut self, topic: Topic) -> Result<u64, Error> {
        let target = match topic {
            Topic::Any => Target::Any,
            Topic::Worker => Target::Worker(self.one_worker()?),
            Topic::All => Target::All,
        };
        self.send(target)
    }

    fn poll(&mut self) -> Result<Option<Answer>, Error> {
        while let Some(event) = self.next_event()? {
            if let Some(answer) = self.answer(&event)? {
                return Ok(Some(answer));
            }
        }
        Ok(self.second_outcome())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
        if self.early.is_none() {
            self.early = self.client.wait(timeout).map_err(Error::system)?;
        }
        Ok(())
    }
}

impl RemoteLink {
    /// The client passes on one outcome per task and counts the others: here a second one is what
    /// the ledger is there to find.
    fn second_outcome(&mut self) -> Option<Answer> {
        let repeats = self.client.repeats();
        let new = repeats.count > self.repeats;
        self.repeats = repeats.count;
        let task = repeats.last.filter(|_| new)?.0;
        Some(Answer::Completed { task })
    }

    fn send(&mut self, target: Target) -> Result<u64, Error> {
        let task = self.client.next_task_id();
        self.client
            .submit(Submit::new(task, target), None, self.payload.share())
            .map_err(Error::system)?;
        Ok(task.0)
    }

    fn next_event(&mut self) -> Result<Option<ClientEvent<ZmqPayload>>, Error> {
        match self.early.take() {
            Some(event) => Ok(Some(event)),
            None => self.client.poll().map_err(Error::system),
        }
    }

    /// Any one worker, always the same: whoever answers a first task.
    fn one_worker(&mut self) -> Result<WorkerId, Error> {
        if let Some(worker) = self.one_worker {
            return Ok(worker);
        }
        self.send(Target::Any)?;
        let event = self.client.wait(FIRST_TASK).map_err(Error::system)?;
        match event {
            Some(ClientEvent::Outcome {
                worker: Some((worker, _)),
                ..
            }) => {
                self.one_worker = Some(worker);
                Ok(worker)
            }
            other => Err(Error::System(format!("a first task came to {other:?}"))),
        }
    }

    fn answer(&self, event: &ClientEvent<ZmqPayload>) -> Result<Option<Answer>, Error> {
        let (task, outcome, worker, part, payload) = match event {
            ClientEvent::Outcome {
                task,
                outcome,
                worker,
                part,
                payload,
                ..
            } => (task.0, *outcome, *worker, *part, payload),
            ClientEvent::Rejected(rejection) => {
                return Err(Error::System(format!("rejected: {rejection:?}")));
            }
            _ => return Ok(None),
        };
        let is_echo = payload.as_ref().and_then(ZmqPayload::bytes) == Some(&self.bytes);
        Ok(Some(match (outcome, worker) {
            (Outcome::Summary { parts, completed }, _) => Answer::Summary {
                task,
                parts,
                completed,
            },
            (Outcome::Completed, Some((worker, _))) if is_echo && part => Answer::Part {
                task,
                worker: worker.0,
            },
            (Outcome::Completed, Some(_)) if is_echo => Answer::Completed { task },
            (Outcome::Completed, _) => Answer::Bad {
                task,
                what: "Completed by nobody or altered",
            },
            (other, _) => Answer::Bad {
                task,
                what: outcome_name(other),
            },
        }))
    }
}
