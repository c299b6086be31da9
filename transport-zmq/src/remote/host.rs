//! Many workers on one thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use taskyard_core::Verdict;
use taskyard_dispatcher::Unpark;
use taskyard_protocol::remote::{Assignment, WorkerEvent};

use super::worker::{RemoteWorker, WorkerOptions};
use crate::message::ZmqPayload;
use crate::security::read_connection_file;
use crate::unpark::PollUnpark;
use crate::{Context, Credentials, Endpoint, Error, StopFlag};

const WAKER: Token = Token(usize::MAX);
/// Descriptors that one poll reports at most.
const EVENTS_MAX: usize = 1024;
/// Until a host that no controller has admitted says so, and until it says so again.
const FIRST_COMPLAINT: Duration = Duration::from_secs(10);
const NEXT_COMPLAINT: Duration = Duration::from_secs(60);
/// Until a worker that was refused asks again: its name may be free by then.
const RETRY: Duration = Duration::from_millis(500);

/// How a [`WorkerHost`]'s workers connect, and what each is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// The controller's endpoint for workers.
    pub endpoint: Endpoint,
    /// Tasks that each takes at once. They run one after the other all the same: there is one
    /// thread.
    pub slots: u16,
    /// Tasks that each is sent beyond those.
    pub prefetch: u16,
    /// The labels of each: up to 8, of 1 to 63 bytes.
    pub labels: Vec<String>,
    /// What each shows there.
    pub credentials: Credentials,
}

impl HostOptions {
    /// Workers that take one task at a time, without credentials.
    #[must_use]
    pub const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
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

/// How many workers of a [`WorkerHost`] are registered now; another thread may look.
#[derive(Clone, Debug, Default)]
pub struct RegisteredCount(Arc<AtomicUsize>);

impl RegisteredCount {
    /// So many, a moment ago.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Any number of workers, each with a connection of its own, served by one thread: it sleeps on one
/// poll, and touches only the workers that have something.
#[derive(Debug)]
pub struct WorkerHost {
    poll: Poll,
    unpark: Arc<PollUnpark>,
    workers: Vec<Hosted>,
    registered: RegisteredCount,
    /// Workers that were refused, with the time to ask again, in order.
    refused: VecDeque<(Instant, usize)>,
    /// Workers that found nobody where they were sent on to, with the time to look again, in order.
    alone: VecDeque<(Instant, usize)>,
    /// When to look whether any worker is registered at all.
    look_at: Instant,
    /// Workers that were told to leave.
    dismissed: usize,
}

#[derive(Debug)]
struct Hosted {
    worker: RemoteWorker,
    /// When it is to be looked at, as noted in `alone`.
    due: Option<Instant>,
    /// What the count says of it.
    is_counted: bool,
}

impl WorkerHost {
    /// Starts to connect one worker for each name; does not wait.
    ///
    /// # Errors
    /// [`Error::SocketsFull`] if the context may have fewer sockets than there are names; or as for
    /// [`RemoteWorker::connect`].
    pub fn connect(
        context: &Context,
        options: &HostOptions,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Self, Error> {
        let poll = Poll::new().map_err(|error| Error::os("making a poll", &error))?;
        let unpark = PollUnpark::new(poll.registry(), WAKER)
            .map_err(|error| Error::os("registering with a poll", &error))?;
        let mut workers = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let profile = WorkerOptions::new(options.endpoint.clone(), name)
                .slots(options.slots)
                .prefetch(options.prefetch)
                .labels(options.labels.iter().cloned())
                .credentials(options.credentials.clone());
            let worker = RemoteWorker::connect(context, &profile)?;
            watch(&poll, &worker, index)?;
            workers.push(Hosted {
                worker,
                due: None,
                is_counted: false,
            });
        }
        Ok(Self {
            poll,
            unpark,
            workers,
            registered: RegisteredCount::default(),
            refused: VecDeque::new(),
            alone: VecDeque::new(),
            look_at: Instant::now() + FIRST_COMPLAINT,
            dismissed: 0,
        })
    }

    /// How many workers are registered, for any thread to read.
    #[must_use]
    pub fn registered(&self) -> RegisteredCount {
        self.registered.clone()
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Runs every task that the workers are given with `handler`, and reports what it says, until
    /// `stop`, or until the controller has told each of them to leave. Then all leave.
    ///
    /// # Errors
    /// If what answers does not speak the protocol, or the system fails.
    pub fn run(
        &mut self,
        mut handler: impl FnMut(&Assignment, &ZmqPayload) -> (Verdict, ZmqPayload),
        stop: &StopFlag,
    ) -> Result<(), Error> {
        let _entered = stop.enter(self.unpark.clone() as Arc<dyn Unpark>);
        let mut events = Events::with_capacity(EVENTS_MAX);
        // Their descriptors are silent until they have been polled once.
        for index in 0..self.workers.len() {
            self.serve(index, &mut handler)?;
        }
        while !stop.is_stopped() && !self.is_dismissed() {
            match self.poll.poll(&mut events, self.next_due()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::os("polling", &error)),
            }
            for event in &events {
                if event.token() != WAKER {
                    self.serve(event.token().0, &mut handler)?;
                }
            }
            self.complain_if_shut_out();
            while let Some(index) = poll_due(&mut self.alone) {
                self.serve(index, &mut handler)?;
            }
            while let Some(index) = poll_due(&mut self.refused) {
                let worker = &mut self.workers[index].worker;
                if worker.registered().is_none() {
                    worker.register();
                    self.serve(index, &mut handler)?;
                }
            }
        }
        for hosted in &mut self.workers {
            hosted.worker.leave();
        }
        Ok(())
    }

    /// libzmq tells nobody that a connection is refused, and goes on trying.
    fn complain_if_shut_out(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        let mut next = FIRST_COMPLAINT;
        if let Some(first) = self.workers.first()
            && self.registered.get() == 0
        {
            next = NEXT_COMPLAINT;
            tracing::warn!(
                worker = first.worker.name(),
                "no controller has admitted this worker: is one running there, and is the \
                 connection file the one that it wrote last?"
            );
        }
        self.look_at = now + next;
    }

    /// Whether there were workers, and all were told to leave.
    fn is_dismissed(&self) -> bool {
        self.dismissed > 0 && self.dismissed >= self.workers.len()
    }

    /// Does all that one worker has, until its descriptor can be slept on again.
    fn serve(
        &mut self,
        index: usize,
        handler: &mut impl FnMut(&Assignment, &ZmqPayload) -> (Verdict, ZmqPayload),
    ) -> Result<(), Error> {
        let Some(hosted) = self.workers.get_mut(index) else {
            return Ok(());
        };
        let worker = &mut hosted.worker;
        while let Some(event) = worker.poll()? {
            match event {
                WorkerEvent::Task(assignment, payload) => {
                    let (verdict, result) = handler(&assignment, &payload);
                    worker.report(&assignment, verdict, Some(result));
                }
                WorkerEvent::Rejected(rejection) => {
                    tracing::warn!(worker = worker.name(), "asks again soon: {rejection}");
                    self.refused.push_back((Instant::now() + RETRY, index));
                }
                WorkerEvent::Evicted => worker.register(),
                WorkerEvent::Drain => {
                    worker.leave();
                    self.dismissed += 1;
                }
                WorkerEvent::Redirect(_) => watch(&self.poll, worker, index)?,
                // A task has run to its end before the next message is read: nothing is left to
                // abort. And what a registration changes is seen below.
                _ => {}
            }
        }
        debug_assert!(
            !worker.is_stirred(),
            "a worker that has nothing left can be slept on"
        );
        let due = worker.next_due();
        if due != hosted.due {
            hosted.due = due;
            self.alone.extend(due.map(|due| (due, index)));
        }
        hosted.count(&self.registered);
        Ok(())
    }

    fn next_due(&self) -> Option<Duration> {
        let next = [self.refused.front(), self.alone.front()];
        let next = next.into_iter().flatten().map(|&(due, _)| due);
        let due = next.fold(self.look_at, Instant::min);
        Some(due.saturating_duration_since(Instant::now()))
    }
}

/// The first worker of a list whose time has come.
fn poll_due(list: &mut VecDeque<(Instant, usize)>) -> Option<usize> {
    let &(due, index) = list.front()?;
    (due <= Instant::now()).then(|| {
        list.pop_front();
        index
    })
}

impl Hosted {
    /// Brings the count up to date.
    fn count(&mut self, registered: &RegisteredCount) {
        let is_registered = self.worker.registered().is_some();
        if is_registered == self.is_counted {
            return;
        }
        self.is_counted = is_registered;
        if is_registered {
            registered.0.fetch_add(1, Ordering::Relaxed);
        } else {
            registered.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn watch(poll: &Poll, worker: &RemoteWorker, index: usize) -> Result<(), Error> {
    let fd = worker.as_fd().as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), Token(index), Interest::READABLE)
        .map_err(|error| Error::os("registering with a poll", &error))
}
