//! A worker in a process of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use taskyard_core::{Epoch, Stream, Verdict, WorkerId};
use taskyard_dispatcher::random_u64;
use taskyard_protocol::remote::{Assignment, WorkerEvent, WorkerProfile, WorkerState};
use taskyard_protocol::wire::NAME_MAX;
use taskyard_protocol::{LABELS_MAX, is_label};

use super::link::{ControllerLiveness, Link};
use crate::message::ZmqPayload;
use crate::security::read_connection_file;
use crate::{Context, Credentials, Endpoint, Error};

/// How long a worker that was sent on to another endpoint goes without a connection there before it
/// goes back to the first one. The controller may have come back with other endpoints for its
/// shards.
const ALONE_MAX: Duration = Duration::from_secs(3);

/// How a [`RemoteWorker`] connects, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The controller's endpoint for workers.
    pub endpoint: Endpoint,
    /// Its stable name; no other worker of the controller has it.
    pub name: String,
    /// Tasks that it runs at once.
    pub slots: u16,
    /// Tasks that it may be sent beyond those; see [`WorkerProfile::prefetch`].
    pub prefetch: u16,
    /// What tasks may ask for: up to 8 labels of 1 to 63 bytes each.
    pub labels: Vec<String>,
    /// What to show at the endpoint, and at those that it is sent on to.
    pub credentials: Credentials,
}

impl WorkerOptions {
    /// A worker that runs one task at a time, without credentials.
    #[must_use]
    pub fn new(endpoint: Endpoint, name: impl Into<String>) -> Self {
        Self {
            endpoint,
            name: name.into(),
            slots: 1,
            prefetch: 0,
            labels: Vec::new(),
            credentials: Credentials::None,
        }
    }

    /// The same, with endpoint and credentials of a connection file: `taskyard-worker.json`, as the
    /// controller has written it.
    ///
    /// # Errors
    /// [`Error::ConnectionFile`] says what is wrong with it, and what to do.
    pub fn from_connection_file(
        path: impl AsRef<Path>,
        name: impl Into<String>,
    ) -> Result<Self, Error> {
        let (endpoint, credentials) = read_connection_file(path.as_ref())?;
        Ok(Self::new(endpoint, name).credentials(credentials))
    }

    /// Sets what to show.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets how many tasks it runs at once.
    #[must_use]
    pub const fn slots(mut self, slots: u16) -> Self {
        self.slots = slots;
        self
    }

    /// Sets its labels.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how many tasks it may be sent beyond its slots, to be there when one becomes free.
    #[must_use]
    pub const fn prefetch(mut self, prefetch: u16) -> Self {
        self.prefetch = prefetch;
        self
    }
}

/// A worker of a controller in another process.
///
/// It registers by itself, again after each loss of the connection, and follows when it is sent to
/// another shard; when it finds nobody there for some seconds, it goes back. A result is kept until
/// the controller has it. The program's part is to run what [`poll`](Self::poll) gives it, and to
/// [`report`](Self::report).
#[derive(Debug)]
pub struct RemoteWorker {
    link: Link,
    state: WorkerState<ZmqPayload>,
    context: Context,
    /// Where it first connected to.
    home: Endpoint,
    credentials: Credentials,
    /// It was sent on to somewhere else.
    away: bool,
    /// Since when nobody answers there.
    alone_since: Option<Instant>,
}

impl RemoteWorker {
    /// Starts to connect; does not wait. [`WorkerEvent::Registered`] says when it is admitted.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Labels`] or [`Error::Connect`]: the options make no sense. That
    /// nobody listens is no error: it goes on trying.
    pub fn connect(context: &Context, options: &WorkerOptions) -> Result<Self, Error> {
        if options.name.is_empty() || options.name.len() > NAME_MAX {
            return Err(Error::Name(options.name.len()));
        }
        let labels = &options.labels;
        if labels.len() > LABELS_MAX || !labels.iter().all(|label| is_label(label)) {
            return Err(Error::Labels);
        }
        let profile = WorkerProfile {
            name: options.name.clone(),
            instance: random_u64(),
            slots: options.slots.max(1),
            prefetch: options.prefetch,
            labels: labels.clone(),
        };
        Ok(Self {
            link: Link::connect(context, &options.endpoint, &options.credentials)?,
            state: WorkerState::new(profile),
            context: context.clone(),
            home: options.endpoint.clone(),
            credentials: options.credentials.clone(),
            away: false,
            alone_since: None,
        })
    }

    /// The next event, if there is one now. A [`WorkerEvent::Redirect`] has been followed already;
    /// it is also how a worker tells that it has gone back to its first endpoint.
    ///
    /// # Errors
    /// [`Error::Garbage`] if what answers there does not speak the protocol; or the system fails.
    pub fn poll(&mut self) -> Result<Option<WorkerEvent<ZmqPayload>>, Error> {
        let mut event = self.link.poll(&mut self.state)?;
        if event.is_none() && self.away {
            if self.is_forsaken()? {
                return self.go_home().map(Some);
            }
            // Looking has stirred the link.
            event = self.link.poll(&mut self.state)?;
        }
        if let Some(WorkerEvent::Redirect(endpoint)) = &event {
            let endpoint = endpoint.parse::<Endpoint>()?.seen_from(&self.home);
            self.link = Link::connect(&self.context, &endpoint, &self.credentials)?;
            (self.away, self.alone_since) = (true, None);
        }
        // After what there was to read: a task may have been asked back.
        Ok(event.or_else(|| {
            let (assignment, payload) = self.state.poll_waiting(self.link.wire())?;
            Some(WorkerEvent::Task(assignment, payload))
        }))
    }

    /// When it must be polled even if its descriptor is silent: while it has no connection where it
    /// was sent on to.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        Some(self.alone_since? + ALONE_MAX)
    }

    fn is_forsaken(&mut self) -> Result<bool, Error> {
        if self.link.is_connected()? {
            self.alone_since = None;
            return Ok(false);
        }
        let now = Instant::now();
        let since = *self.alone_since.get_or_insert(now);
        Ok(now.duration_since(since) >= ALONE_MAX)
    }

    fn go_home(&mut self) -> Result<WorkerEvent<ZmqPayload>, Error> {
        self.link = Link::connect(&self.context, &self.home, &self.credentials)?;
        self.state.unsettle();
        (self.away, self.alone_since) = (false, None);
        Ok(WorkerEvent::Redirect(self.home.to_string()))
    }

    /// The next event; waits for it at most so long.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<WorkerEvent<ZmqPayload>>, Error> {
        let due = Instant::now() + timeout;
        loop {
            if let Some(event) = self.poll()? {
                return Ok(Some(event));
            }
            if Instant::now() >= due {
                return Ok(None);
            }
            let wake = self.next_due().map_or(due, |alone| alone.min(due));
            self.link.wait(wake)?;
        }
    }

    /// Reports how an attempt ended: now, or as soon as there is a registration. False if it is not
    /// running: it was reported before.
    pub fn report(
        &mut self,
        assignment: &Assignment,
        verdict: Verdict,
        payload: Option<ZmqPayload>,
    ) -> bool {
        self.state
            .report(assignment, verdict, payload, self.link.wire())
    }

    /// Passes on what an attempt has printed, now or not at all: `false` if it was dropped. What
    /// was dropped is counted, and its client told. At most [`OUTPUT_MAX`] bytes in one frame; see
    /// [`WorkerState::output`]. Output waits for nobody, and nothing waits for output; so poll
    /// while a task prints much, or most of it will be dropped.
    ///
    /// [`OUTPUT_MAX`]: taskyard_protocol::OUTPUT_MAX
    pub fn output(&mut self, assignment: &Assignment, stream: Stream, payload: ZmqPayload) -> bool {
        self.state
            .output(assignment, stream, payload, self.link.wire())
    }

    /// Its place in the controller's table and its incarnation, while it is registered.
    #[must_use]
    pub const fn registered(&self) -> Option<(WorkerId, Epoch)> {
        self.state.registered()
    }

    /// What it was given and has not reported.
    #[must_use]
    pub fn running(&self) -> &[Assignment] {
        self.state.running()
    }

    /// How many tasks it was sent ahead, and wait here for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.waiting()
    }

    /// How many results it keeps because the controller has not said that it has them. A worker
    /// that leaves waits until there are none, as long as its patience lasts.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.state.unacknowledged()
    }

    /// Whether the controller is there: at once, from what is known here. Poll before the next
    /// sleep on the descriptor.
    ///
    /// # Errors
    /// If libzmq fails.
    pub fn controller_alive(&mut self) -> Result<ControllerLiveness, Error> {
        self.link.controller_alive()
    }

    /// Registers anew: after it was evicted, or refused.
    pub fn register(&mut self) {
        self.state.register(self.link.wire());
    }

    /// Asks to be given nothing more: a [`WorkerEvent::Drain`] says when it may leave without a
    /// loss. `false` without a registration; a new registration has forgotten it.
    pub fn drain(&mut self) -> bool {
        self.state.drain(self.link.wire())
    }

    /// Leaves for good. What it still runs counts as lost.
    pub fn leave(&mut self) {
        self.state.leave(self.link.wire());
    }

    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.profile().name
    }

    /// Whether it must be polled before anyone sleeps on its descriptor.
    pub(super) fn is_stirred(&self) -> bool {
        self.link.is_stirred()
    }
}

/// To sleep on, together with other things: readable means that there *may* be an event. Only edges
/// count, so call [`poll`](RemoteWorker::poll) until it says `None` before each sleep, and after
/// each report; and at [`next_due`](RemoteWorker::next_due). A [`WorkerEvent::Redirect`] changes
/// the descriptor.
impl AsFd for RemoteWorker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }
}
