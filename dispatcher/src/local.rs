//! In-process clients and workers: the embedder's API, no socket anywhere.
//!
//! Both are peers like any other: they have a port, they run on whatever thread owns them, and the
//! dispatcher does not know the difference.

use std::collections::VecDeque;
use std::time::{Duration, Instant as StdInstant};

use taskyard_core::{
    Attempt, ClientHello, ClientId, Epoch, Instant, Labels, Loss, Outcome, OutcomeReply,
    Registration, Report, Submit, TaskHandle, TaskId, Token, Verdict, WorkerId,
};

use crate::dispatcher::Dispatcher;
use crate::envelope::{Event, Reply};
use crate::error::Error;
use crate::names::random_u64;
use crate::parker::ThreadParker;
use crate::payload::Payload;
use crate::port::{Delivery, Port};

impl<P: Payload> Dispatcher<P> {
    /// Attaches an in-process client. Call it on the thread that drives the dispatcher (see
    /// [`Runner::with`](crate::Runner::with)); the client may then move to any thread.
    ///
    /// # Errors
    /// When there are too many ports or clients.
    pub fn attach_client(&mut self, now: Instant) -> Result<LocalClient<P>, Error> {
        let parker = ThreadParker::new();
        let mut port = self.attach(parker.unparker())?;
        let key = (u128::from(random_u64()) << 64) | u128::from(random_u64());
        let hello = ClientHello {
            key,
            session: 1,
            keep_outcomes: false,
            token: Token(0),
        };
        self.handle_now(now, port.id(), Event::ClientUp(hello));
        match port.poll_reply() {
            Some(Reply::Welcome { welcome, .. }) => Ok(LocalClient {
                port,
                parker,
                client: welcome.client,
                next_task: 1,
            }),
            _ => Err(Error::ClientsFull),
        }
    }

    /// Attaches in-process workers that share one thread, each with `slots` tasks at once. Call it
    /// on the thread that drives the dispatcher; the workers may then move to any one thread.
    ///
    /// ```
    /// # use taskyard_dispatcher::*;
    /// # use taskyard_core::*;
    /// let parker = ThreadParker::new();
    /// let mut dispatcher = Dispatcher::<[u8; 8]>::new(Config::default(), parker.unparker())?;
    /// let clock = Clock::start();
    /// let mut client = dispatcher.attach_client(clock.now())?;
    /// let mut workers = dispatcher.attach_workers(clock.now(), &["adder"], 1)?;
    ///
    /// client.submit(Submit::new(TaskId(1), Target::Any), 41u64.to_le_bytes()).unwrap();
    /// dispatcher.run_once(clock.now());
    /// let task = workers.poll_task().expect("the pool has it");
    /// let answer = u64::from_le_bytes(task.payload) + 1;
    /// workers.report(&task, Verdict::Completed, Some(answer.to_le_bytes()));
    /// dispatcher.run_once(clock.now());
    /// let outcome = client.poll_outcome().expect("it is done");
    /// assert_eq!(outcome.payload, Some(42u64.to_le_bytes()));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are too many ports or workers, or a name is taken.
    pub fn attach_workers<S: AsRef<str>>(
        &mut self,
        now: Instant,
        names: &[S],
        slots: u16,
    ) -> Result<LocalWorkers<P>, Error> {
        self.attach_workers_with(now, names, slots, &[])
    }

    /// As [`attach_workers`](Self::attach_workers); all of them have these labels, at most 8.
    ///
    /// # Errors
    /// As there, and when there are too many labels in all.
    pub fn attach_workers_with<S: AsRef<str>>(
        &mut self,
        now: Instant,
        names: &[S],
        slots: u16,
        labels: &[&str],
    ) -> Result<LocalWorkers<P>, Error> {
        let labels = labels.iter().map(|label| self.names().label_key(label));
        let labels = Labels::new(labels);
        let parker = ThreadParker::new();
        let mut port = self.attach(parker.unparker())?;
        let instance = random_u64();
        let mut workers = Vec::with_capacity(names.len());
        for (number, name) in (1..).zip(names) {
            let name = name.as_ref();
            let key = self.names().key(name);
            let token = Token(u64::from(number));
            let registration = Registration {
                name: key,
                instance,
                number,
                slots,
                prefetch: 0,
                busy: 0,
                labels,
                token,
            };
            self.handle_now(now, port.id(), Event::WorkerUp(registration));
            match port.poll_reply() {
                Some(Reply::Registered { worker, epoch, .. }) => workers.push((worker, epoch)),
                Some(Reply::NotRegistered { refusal, .. }) => {
                    return Err(Error::NotAdmitted {
                        name: name.to_owned(),
                        refusal,
                    });
                }
                // The name is taken by another of this port's workers, which would have to leave.
                _ => {
                    let refusal = taskyard_core::RegistrationRefusal::NameTaken;
                    return Err(Error::NotAdmitted {
                        name: name.to_owned(),
                        refusal,
                    });
                }
            }
        }
        let slots = names.len() * usize::from(slots.max(1));
        let (aborts, unsent) = (Vec::with_capacity(slots), VecDeque::with_capacity(slots));
        Ok(LocalWorkers {
            port,
            parker,
            workers,
            aborts,
            unsent,
        })
    }
}

/// An in-process client: submits tasks and polls their outcomes.
#[derive(Debug)]
pub struct LocalClient<P: Payload> {
    port: Port<P>,
    parker: ThreadParker,
    client: ClientId,
    next_task: u64,
}

/// One outcome, with the result where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOutcome<P> {
    /// The client's number for the task.
    pub task: TaskId,
    /// What became of it.
    pub outcome: Outcome,
    /// The worker that ran it last, if any did.
    pub worker: Option<(WorkerId, Epoch)>,
    /// How many executions were started.
    pub attempts: u8,
    /// One outcome of several: a [`Summary`](Outcome::Summary) closes the multicast.
    pub part: bool,
    /// The result, or how it failed.
    pub payload: Option<P>,
}

impl<P> LocalOutcome<P> {
    fn new(reply: &OutcomeReply, payload: Option<P>) -> Self {
        let OutcomeReply {
            task,
            outcome,
            worker,
            attempts,
            part,
            ..
        } = *reply;
        Self {
            task,
            outcome,
            worker,
            attempts,
            part,
            payload,
        }
    }
}

impl<P: Payload> LocalClient<P> {
    /// The dispatcher's record of this client.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.client
    }

    /// The key of a worker's name, for [`Target::Named`](taskyard_core::Target::Named).
    #[must_use]
    pub fn name_key(&self, name: &str) -> taskyard_core::NameKey {
        self.port.name_key(name)
    }

    /// The key of a label, for [`Target::Label`](taskyard_core::Target::Label).
    #[must_use]
    pub fn label_key(&self, label: &str) -> taskyard_core::LabelKey {
        self.port.label_key(label)
    }

    /// A task number that this client has not used.
    pub const fn next_task_id(&mut self) -> TaskId {
        let task = TaskId(self.next_task);
        self.next_task += 1;
        task
    }

    /// Submits a task.
    ///
    /// # Errors
    /// Gives the payload back when the ring to the dispatcher is full: poll outcomes, then try
    /// again.
    pub fn submit(&mut self, submit: Submit, payload: P) -> Result<(), P> {
        if !self.port.has_room(1) {
            self.port.flush();
            return Err(payload);
        }
        self.port.send(Event::Submit {
            client: self.client,
            submit,
            payload,
        });
        self.port.flush();
        Ok(())
    }

    /// Asks for a task not to run, or to stop. Its outcome says what came of it. False when the
    /// ring to the dispatcher is full, and nothing was asked.
    #[must_use]
    pub fn cancel(&mut self, task: TaskId) -> bool {
        let room = self.port.has_room(1);
        if room {
            self.port.send(Event::Cancel {
                client: self.client,
                task,
            });
        }
        self.port.flush();
        room
    }

    /// The next outcome that is there.
    pub fn poll_outcome(&mut self) -> Option<LocalOutcome<P>> {
        loop {
            if let Reply::Outcome { reply, payload } = self.port.poll_reply()? {
                return Some(LocalOutcome::new(&reply, payload));
            }
        }
    }

    /// The next outcome, or `None` after `timeout`. For a dispatcher on a thread of its own.
    pub fn wait_outcome(&mut self, timeout: Duration) -> Option<LocalOutcome<P>> {
        // None: so far away that it never comes.
        let end = StdInstant::now().checked_add(timeout);
        loop {
            if let Some(outcome) = self.poll_outcome() {
                return Some(outcome);
            }
            let left = end.map_or(timeout, |end| {
                end.saturating_duration_since(StdInstant::now())
            });
            if left.is_zero() {
                return None;
            }
            if self.port.prepare_sleep() {
                self.parker.park_timeout(left);
                self.port.woke();
            }
            self.port.collect_bells();
        }
    }
}

/// In-process workers on one thread.
#[derive(Debug)]
pub struct LocalWorkers<P: Payload> {
    port: Port<P>,
    parker: ThreadParker,
    workers: Vec<(WorkerId, Epoch)>,
    /// Attempts that the dispatcher wants stopped, until they report.
    aborts: Vec<(TaskHandle, Attempt)>,
    /// Reports that found no room in the event ring: at most one per slot.
    unsent: VecDeque<(Report, Option<P>)>,
}

impl<P: Payload> LocalWorkers<P> {
    /// The workers, in the order of their names.
    #[must_use]
    pub fn ids(&self) -> &[(WorkerId, Epoch)] {
        &self.workers
    }

    /// The next task for any of these workers that has a free slot. It has started.
    ///
    /// The dispatcher hears of it with the next call of any other method, so that short tasks cost
    /// one bell and not two. A task that runs long calls [`is_aborted`](Self::is_aborted) now and
    /// then: until the first time its place in the pool's window stays taken.
    pub fn poll_task(&mut self) -> Option<Delivery<P>> {
        self.poll_control();
        self.port.poll_delivery()
    }

    /// Says how a task ended; its slot is free again.
    pub fn report(&mut self, task: &Delivery<P>, verdict: Verdict, payload: Option<P>) {
        let Delivery {
            worker,
            epoch,
            handle,
            attempt,
            ..
        } = *task;
        let report = Report {
            worker,
            epoch,
            handle,
            attempt,
            verdict,
        };
        self.unsent.push_back((report, payload));
        self.send_reports();
    }

    /// Whether the dispatcher wants this task stopped: a long task asks now and then.
    pub fn is_aborted(&mut self, task: &Delivery<P>) -> bool {
        self.poll_control();
        self.aborts.contains(&(task.handle, task.attempt))
    }

    /// Sleeps until there may be something to do, or for `timeout`.
    pub fn wait(&mut self, timeout: Duration) {
        self.poll_control();
        if self.port.prepare_sleep() {
            self.parker.park_timeout(timeout);
            self.port.woke();
        }
        // A bell that nobody has answered lets nobody sleep.
        self.port.collect_bells();
    }

    fn send_reports(&mut self) {
        while !self.unsent.is_empty() && self.port.has_room(1) {
            let Some((report, payload)) = self.unsent.pop_front() else {
                break;
            };
            self.aborts
                .retain(|aborted| *aborted != (report.handle, report.attempt));
            // An evicted worker's report is refused, as it should be: its tasks are settled.
            let _ = self.port.reported(report, payload);
        }
        self.port.flush();
    }

    fn poll_control(&mut self) {
        self.send_reports();
        while let Some(reply) = self.port.poll_reply() {
            match reply {
                // One that the report has crossed on its way is for nobody.
                Reply::Abort {
                    worker,
                    epoch,
                    handle,
                    attempt,
                } if self.port.is_out(worker, epoch, handle, attempt) => {
                    self.aborts.push((handle, attempt));
                }
                // Stuck past all grace: what it runs is given up, and it gets nothing more.
                Reply::Evict { worker, epoch, .. } => {
                    self.port.worker_down(worker, epoch, Loss::Left);
                }
                _ => {}
            }
        }
    }
}
