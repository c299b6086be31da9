//! A client in a process of its own.

mod aside;
mod control;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use taskyard_core::{Submit, TaskId, WorkerId};
use taskyard_dispatcher::random_u64;
use taskyard_protocol::remote::{ClientEvent, ClientState, Repeats};

use super::link::{ControllerLiveness, Link};
use crate::message::ZmqPayload;
use crate::security::read_connection_file;
use crate::{Context, Credentials, Endpoint, Error};

/// How a [`RemoteClient`] connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The controller's endpoint for clients.
    pub endpoint: Endpoint,
    /// How long to wait for its first answer.
    pub connect_timeout: Duration,
    /// What to show there.
    pub credentials: Credentials,
    /// Who it is. `None`: somebody new, with a key that nobody else will ever have.
    pub key: Option<ClientKey>,
}

/// Who a client is: a process that comes back with the key of one that died finds its outcomes, as
/// long as the controller keeps them.
///
/// It submits again what has no outcome, under the same numbers and [marked as sent
/// before](taskyard_core::Submit::resent), right after it has connected: the controller knows those
/// that it has, and outcomes of tasks that the client does not know are not passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientKey {
    /// 128 random bits. Whoever knows them can take over the client's tasks.
    pub secret: u128,
    /// No session that the key was used for before had a higher number: a process that may make a
    /// million connections in its life begins a million higher than the one before it. 0 for a new
    /// key.
    pub sessions_before: u32,
}

impl fmt::Debug for ClientKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("sessions_before", &self.sessions_before)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// The defaults: five seconds for the first answer, no credentials, and somebody new.
    #[must_use]
    pub const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connect_timeout: Duration::from_secs(5),
            credentials: Credentials::None,
            key: None,
        }
    }

    /// The defaults, with endpoint and credentials of a connection file: `taskyard-client.json`, or
    /// `taskyard-operator.json`, as the controller has written it.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] says what is wrong with it, and what to do.
    pub fn from_connection_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (endpoint, credentials) = read_connection_file(path.as_ref())?;
        Ok(Self::new(endpoint).credentials(credentials))
    }

    /// Sets what to show.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }
}

/// A client of a controller in another process: submits tasks, and gets exactly one outcome for
/// each (one per part and a summary, for a multicast).
///
/// A connection that breaks is made again, and nothing is lost with it: submits go out again, and
/// the controller keeps outcomes until they are acknowledged. Dropping a client is its goodbye:
/// what it still has in the controller is purged.
#[derive(Debug)]
pub struct RemoteClient {
    link: Link,
    state: ClientState<ZmqPayload>,
    next_task: u64,
    /// The number of the last question.
    question: u64,
    /// What came while an answer was waited for.
    aside: aside::Aside,
}

impl RemoteClient {
    /// Connects, and waits until the controller has opened a session.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] after the time to connect; [`Error::Rejected`] if the controller does
    /// not want us; [`Error::Connect`] if the endpoint cannot even be tried.
    pub fn connect(context: &Context, options: &ClientOptions) -> Result<Self, Error> {
        let key = options.key.unwrap_or_else(|| ClientKey {
            secret: u128::from(random_u64()) << 64 | u128::from(random_u64()),
            sessions_before: 0,
        });
        let mut client = Self {
            link: Link::connect(context, &options.endpoint, &options.credentials)?,
            state: ClientState::returning(key.secret, key.sessions_before),
            // No number that a process before this one has had: its tasks may still be known.
            next_task: (u64::from(key.sessions_before) << 32) + 1,
            question: 0,
            aside: aside::Aside::default(),
        };
        let due = Instant::now() + options.connect_timeout;
        loop {
            match client.wait_until(due)? {
                Some(ClientEvent::Welcome { .. }) => return Ok(client),
                Some(ClientEvent::Rejected(rejection)) => return Err(Error::Rejected(rejection)),
                Some(_) => {}
                None => {
                    return Err(Error::NoAnswer {
                        endpoint: options.endpoint.clone(),
                        waited: options.connect_timeout,
                        side: "clients",
                    });
                }
            }
        }
    }

    /// A number that no task of this client had: counted up, from 1 for a new client, and from
    /// beyond those of the processes before it for one that has come back with its key.
    pub fn next_task_id(&mut self) -> TaskId {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        id
    }

    /// Submits a task, now or as soon as there is a connection. With a `name` it goes to the worker
    /// of that name, whatever the submit's target says.
    ///
    /// # Errors
    /// [`Error::Submit`]: the number is in use, or the name is none. A refusal of the controller's
    /// is an outcome.
    pub fn submit(
        &mut self,
        submit: Submit,
        name: Option<&str>,
        payload: ZmqPayload,
    ) -> Result<(), Error> {
        Ok(self.state.submit(submit, name, payload, self.link.wire())?)
    }

    /// Submits a task for whichever worker that has this label is least busy, whatever the submit's
    /// target says. With [`Target::Any`](taskyard_core::Target::Any) it may be started as often as
    /// such a task.
    ///
    /// # Errors
    /// [`Error::Submit`]: the number is in use, or the label is none. A refusal of the controller's
    /// is an outcome.
    pub fn submit_to_label(
        &mut self,
        submit: Submit,
        label: &str,
        payload: ZmqPayload,
    ) -> Result<(), Error> {
        let wire = self.link.wire();
        Ok(self.state.submit_to_label(submit, label, payload, wire)?)
    }

    /// Asks for a task to be cancelled: its outcome says whether it was. False if it has its
    /// outcome already.
    pub fn cancel(&mut self, task: TaskId) -> bool {
        self.state.cancel(task, self.link.wire())
    }

    /// Asks whether a worker is there, by its name or else by its id. The answer comes at once,
    /// from what the controller knows, as a [`ClientEvent::Alive`] with the same number. `false`
    /// without a session, or if the name is none: nothing was asked.
    pub fn is_alive(&mut self, question: u64, worker: WorkerId, name: Option<&str>) -> bool {
        self.state
            .is_alive(question, worker, name, self.link.wire())
    }

    /// Whether the controller is there: at once, from what is known here. Poll before the next
    /// sleep on the descriptor.
    ///
    /// # Errors
    /// If libzmq fails.
    pub fn controller_alive(&mut self) -> Result<ControllerLiveness, Error> {
        self.link.controller_alive()
    }

    /// Says hello anew: after it was refused, once there may be a place for it again.
    pub fn hello(&mut self) {
        self.state.hello(self.link.wire());
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// [`Error::Garbage`] if what answers there does not speak the protocol; or the system fails.
    pub fn poll(&mut self) -> Result<Option<ClientEvent<ZmqPayload>>, Error> {
        match self.aside.pop() {
            Some(event) => Ok(Some(event)),
            None => Ok(self
                .link
                .poll(&mut self.state)?
                .map(|event| self.aside.pass(event))),
        }
    }

    /// The next event; waits for it at most so long.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ClientEvent<ZmqPayload>>, Error> {
        match self.aside.pop() {
            Some(event) => Ok(Some(event)),
            None => {
                let event = self.wait_until(Instant::now() + timeout)?;
                Ok(event.map(|event| self.aside.pass(event)))
            }
        }
    }

    fn wait_until(&mut self, due: Instant) -> Result<Option<ClientEvent<ZmqPayload>>, Error> {
        let mut acknowledged = false;
        loop {
            if let Some(event) = self.link.poll(&mut self.state)? {
                return Ok(Some(event));
            }
            if !acknowledged && self.state.outstanding() == 0 {
                // No submit will carry it soon, and the controller keeps the outcomes until then.
                acknowledged = true;
                self.state.acknowledge(self.link.wire());
            }
            if self.link.is_stirred() {
                continue;
            }
            if Instant::now() >= due {
                return Ok(None);
            }
            self.link.wait(due)?;
        }
    }

    /// Outcomes that came although they were here already; they are not passed on.
    #[must_use]
    pub const fn repeats(&self) -> Repeats {
        self.state.repeats()
    }

    /// How many tasks have no outcome yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.state.outstanding()
    }

    /// How many tasks and unacknowledged outcomes it may have at once, while there is a session.
    #[must_use]
    pub const fn quota(&self) -> Option<u32> {
        self.state.quota()
    }

    /// Leaves for good, and purges what it has in the controller. Dropping it does the same.
    pub fn goodbye(self) {}
}

impl Drop for RemoteClient {
    fn drop(&mut self) {
        self.state.goodbye(self.link.wire());
    }
}

/// To sleep on, together with other things: readable means that there *may* be an event. Only edges
/// count, so call [`poll`](RemoteClient::poll) until it says `None` before each sleep, and after
/// each submit.
impl AsFd for RemoteClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }
}
