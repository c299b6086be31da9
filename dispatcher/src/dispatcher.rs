//! The thread that drives the scheduler: one duty cycle drains events, applies effects, answers.
//!
//! [`Dispatcher::run_once`] never waits for another thread. It asks for room before it pops
//! anything that needs an answer and before it polls anything that needs a place, so no push can
//! fail; where there is no room it leaves the source as it is, announces that it waits for room
//! (see `room.rs`), and goes on with the others.
//!
//! *Why this cannot deadlock:* events of a port are drained only while its reply ring has room, and
//! a port drains its replies always, whatever the state of its event ring. So replies wait for
//! nobody, and events wait only for replies.

mod peers;
mod port_end;

use std::fmt;
use std::sync::Arc;

use taskyard_core::{
    AttemptAt, ClientId, Config, Early, Effect, Envelope, Epoch, Instant, Limits, Liveness, Origin,
    Outcome, OutcomeReply, PortId, Refusal, Report, Reported, Revoked, Scheduler, Stamp, Stats,
    StillRuns, Submit, Submitted, Sweep, Target, TaskHandle, Tried, Verdict, WorkerId,
};

use self::peers::Mailbox;
use self::port_end::PortEnd;
use crate::control::carry_out;
use crate::doorbell::{Bell, Listener, doorbell};
use crate::envelope::{Event, Reply};
use crate::error::Error;
use crate::names::NameHasher;
use crate::parker::Unpark;
use crate::payload::{Payload, TaskClaimant, TaskOwner, payload_len, task_table};
use crate::pool::{Injector, Stealer, pool};
use crate::port::{DispatcherBell, Port, PortState};
use crate::ring::ring;
use crate::room::RoomFlag;
use crate::sleepers::Sleepers;
use crate::spare_room::SpareBytes;

/// Events of one port that one duty cycle handles, so that no port keeps the others waiting.
const EVENTS_PER_PORT: usize = 256;
/// Effects that one duty cycle applies: a loss or a purge of a million tasks is spread over many.
const EFFECTS_PER_CYCLE: usize = 1024;
/// Replies of one port that one duty cycle passes on.
const REPLIES_PER_PORT: usize = 256;
/// Room of each port's event ring and reply ring. A burst beyond it waits at its source.
const RING_CAPACITY: usize = 4096;

/// The scheduler, joined to the threads around it.
pub struct Dispatcher<P: Payload> {
    scheduler: Scheduler,
    tasks: TaskOwner<P>,
    pool: Injector<Envelope>,
    ports: Vec<PortEnd<P>>,
    mailboxes: Vec<Option<Mailbox>>,
    bells: Listener,
    sleepers: Sleepers,
    shared: Shared<P>,
    ring_capacity: usize,
}

/// What every new port gets a copy of.
struct Shared<P: Payload> {
    names: NameHasher,
    bell: Bell,
    stealer: Stealer<Envelope>,
    claimant: TaskClaimant<P>,
}

impl<P: Payload> Dispatcher<P> {
    /// A dispatcher without ports; allocates all its tables.
    ///
    /// `unpark` wakes the thread that will drive it, when that sleeps.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: Config, unpark: Arc<dyn Unpark>) -> Result<Self, Error> {
        let limits = config.validate()?;
        let (tasks, claimant) = task_table(limits.tasks() as usize);
        let (injector, stealer) = pool(limits.pool() as usize);
        let (bell, bells) = doorbell(usize::from(limits.ports()), unpark);
        Ok(Self {
            scheduler: Scheduler::new(&limits),
            tasks,
            pool: injector,
            ports: Vec::with_capacity(usize::from(limits.ports())),
            mailboxes: (0..limits.workers()).map(|_| None).collect(),
            bells,
            sleepers: Sleepers::new(),
            shared: Shared {
                names: NameHasher::random(),
                bell,
                stealer,
                claimant,
            },
            ring_capacity: RING_CAPACITY,
        })
    }

    /// Other rings for the ports to come: for tests, in which they should fill up often.
    #[doc(hidden)]
    #[must_use]
    pub fn with_ring_capacity(self, ring_capacity: usize) -> Self {
        Self {
            ring_capacity,
            ..self
        }
    }

    /// Makes a port; `unpark` wakes the thread that will own it. The place of a port that was
    /// dropped is used again once nothing names it any more.
    ///
    /// # Errors
    /// When all ports of the configuration are taken.
    pub fn attach(&mut self, unpark: Arc<dyn Unpark>) -> Result<Port<P>, Error> {
        let limit = self.limits().ports();
        let place = self
            .ports
            .iter()
            .position(PortEnd::is_vacant)
            .unwrap_or(self.ports.len());
        if place >= usize::from(limit) {
            return Err(Error::PortsFull { limit });
        }
        let (end, port) = self.join_ends(PortId(place as u16), unpark);
        match self.ports.get_mut(place) {
            Some(vacant) => *vacant = end,
            None => self.ports.push(end),
        }
        Ok(port)
    }

    fn join_ends(&self, id: PortId, unpark: Arc<dyn Unpark>) -> (PortEnd<P>, Port<P>) {
        let (event_producer, events) = ring(self.ring_capacity);
        let (replies, reply_consumer) = ring(self.ring_capacity);
        let (bell, bells) = doorbell(self.limits().workers() as usize + 1, Arc::clone(&unpark));
        let (reply_room, event_room) = (Arc::<RoomFlag>::default(), Arc::<RoomFlag>::default());
        let output = <(SpareBytes, SpareBytes)>::default();
        let port = Port {
            id,
            names: self.shared.names.clone(),
            events: event_producer,
            replies: reply_consumer,
            state: PortState::new(),
            dispatcher: DispatcherBell {
                bell: self.shared.bell.clone(),
                port: id,
            },
            reply_room: Arc::clone(&reply_room),
            event_room: Arc::clone(&event_room),
            output_events: output.0.clone(),
            output_replies: output.1.clone(),
            bells,
            tasks: self.shared.claimant.clone(),
            pool: self.shared.stealer.clone(),
            sleepers: self.sleepers.clone(),
            unpark: Arc::clone(&unpark),
        };
        (
            PortEnd::new(
                events, replies, reply_room, event_room, output, bell, unpark,
            ),
            port,
        )
    }

    /// One duty cycle; returns how much it did. `now` never goes backwards.
    pub fn run_once(&mut self, now: Instant) -> usize {
        let mut work = self.drain_events(now);
        if self.scheduler.next_timeout().is_some_and(|due| due <= now) {
            self.scheduler.handle_timeout(now);
            work += 1;
        }
        work += self.apply_effects(now);
        work += self.inject(now);
        work + self.pass_on_replies(now)
    }

    /// When [`run_once`](Self::run_once) must be called again even if no bell rings.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.scheduler.next_timeout()
    }

    /// Announces that the driving thread is about to sleep. False: a bell rang, do not sleep. True:
    /// sleep until unparked or [`next_timeout`](Self::next_timeout), then call
    /// [`woke`](Self::woke).
    #[must_use]
    pub fn prepare_sleep(&mut self) -> bool {
        self.bells.announce()
    }

    /// Takes the announcement back, after a sleep.
    pub fn woke(&mut self) {
        self.bells.retract();
    }

    /// Wakes the driving thread, from any other: a copy may be kept.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker {
            bell: self.shared.bell.clone(),
        }
    }

    /// What the scheduler has counted.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        self.scheduler.stats()
    }

    /// The scheduler, to be asked: its queues, what is in them, and why it is not running.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// The capacities.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        self.scheduler.limits()
    }

    /// Workers attached now.
    #[must_use]
    pub fn workers_up(&self) -> u32 {
        self.scheduler.workers_up()
    }

    /// Whether a worker is there, by its id or its name's key, from what is known.
    #[must_use]
    pub fn is_alive(&self, now: Instant, target: Target) -> Option<Liveness> {
        self.scheduler.liveness(now, target)
    }

    /// Tasks that have a place now: waiting, running, or with an outcome that waits for its client.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.scheduler.tasks()
    }

    pub(crate) fn names(&self) -> &NameHasher {
        &self.shared.names
    }

    /// Admits a peer that is made together with its port, on the dispatcher's own thread.
    pub(crate) fn handle_now(&mut self, now: Instant, port: PortId, event: Event<P>) {
        self.handle(now, port, event);
        self.end(port).ring();
    }

    fn end(&mut self, port: PortId) -> &mut PortEnd<P> {
        &mut self.ports[usize::from(port.0)]
    }

    // ---- events ----

    fn drain_events(&mut self, now: Instant) -> usize {
        let mut work = 0;
        // Only ports whose bell has rung by now: one that rings all the time must not hold this
        // loop.
        for _ in 0..=self.ports.len() {
            let Some(bit) = self.bells.next() else { break };
            work += self.drain_port(now, PortId(bit as u16));
        }
        work
    }

    fn drain_port(&mut self, now: Instant, port: PortId) -> usize {
        if self
            .ports
            .get(usize::from(port.0))
            .is_none_or(PortEnd::is_gone)
        {
            return 0;
        }
        self.unblock(port);
        let mut count = 0;
        // Each event causes at most one reply of its own.
        while count < EVENTS_PER_PORT && self.end(port).has_reply_room() {
            let Some(event) = self.end(port).events.pop() else {
                break;
            };
            self.handle(now, port, event);
            count += 1;
        }
        let end = self.end(port);
        if count > 0 && end.event_room.answer() {
            end.unpark.unpark();
        }
        if end.events.is_closed() {
            self.port_gone(now, port);
        } else if !end.blocked && !end.events.is_empty() {
            self.bells.requeue(u32::from(port.0));
        }
        count
    }

    /// The port has rung: perhaps because there is room again.
    fn unblock(&mut self, port: PortId) {
        let end = self.end(port);
        end.blocked = false;
        if std::mem::take(&mut end.deferred) {
            self.scheduler.defer_port(port);
        }
    }

    fn handle(&mut self, now: Instant, port: PortId, event: Event<P>) {
        match event {
            Event::ClientUp(hello) => self.client_up(now, port, hello),
            Event::ClientDown(client) => {
                self.end(port).forget_client(client);
                self.client_down(now, port, client);
            }
            Event::Goodbye(client) => {
                self.end(port).forget_client(client);
                self.scheduler.handle_goodbye(now, client);
            }
            Event::Submit {
                client,
                submit,
                payload,
            } => {
                self.submit(now, port, client, submit, payload);
            }
            Event::Cancel { client, .. } | Event::Ack { client, .. }
                if !self.has_session(port, client) => {}
            Event::Cancel { client, task } => self.scheduler.handle_cancel(now, client, task),
            Event::Ack { client, seq } => self.scheduler.handle_ack(now, client, seq),
            Event::WorkerUp(registration) => self.worker_up(now, port, registration),
            Event::WorkerDown {
                worker,
                epoch,
                loss,
            } => self.scheduler.handle_worker_down(now, worker, epoch, loss),
            Event::IsAlive { token, target } => {
                let liveness = self.scheduler.liveness(now, target);
                self.end(port).reply(Reply::Liveness { token, liveness });
            }
            Event::Drained {
                worker,
                epoch,
                mailbox,
            } => {
                self.drained(now, port, (worker, epoch), mailbox);
            }
            Event::Paused { worker, epoch } => self.scheduler.handle_paused(now, worker, epoch),
            Event::Hold { worker, held } => _ = self.scheduler.handle_hold(now, worker, held),
            Event::Drain(worker) => _ = self.scheduler.handle_drain(now, worker),
            Event::Sweep(sweep) => self.sweep(now, port, sweep),
            Event::Control { token, order } => {
                let answer = carry_out(&mut self.scheduler, now, order);
                self.end(port).reply(Reply::Controlled { token, answer });
            }
            Event::Output { .. } | Event::OutputMissed { .. } => {
                self.handle_output(now, port, event);
            }
            of_attempt => self.handle_attempt(now, of_attempt),
        }
    }

    /// What is said about an attempt, its envelope or its slot.
    fn handle_attempt(&mut self, now: Instant, event: Event<P>) {
        match event {
            Event::Claimed {
                handle,
                attempt,
                worker,
                epoch,
            } => {
                self.scheduler
                    .handle_claimed(now, handle, attempt, worker, epoch);
            }
            Event::Prefetched {
                handle,
                attempt,
                worker,
                epoch,
            } => {
                self.scheduler
                    .handle_prefetched(now, handle, attempt, worker, epoch);
            }
            Event::Started {
                handle,
                attempt,
                worker,
                epoch,
            } => {
                self.scheduler
                    .handle_started(now, handle, attempt, worker, epoch);
            }
            Event::GivenBack {
                handle,
                attempt,
                worker,
                epoch,
            } => {
                self.scheduler
                    .handle_given_back(now, handle, attempt, worker, epoch);
            }
            Event::Reported { report, payload } => self.reported(now, report, payload),
            Event::HandedIn {
                instance,
                report,
                payload,
            } => self.handed_in(now, instance, report, payload),
            Event::StillRuns { instance, attempt } => self.still_runs(now, instance, attempt),
            Event::EarlyResult {
                origin,
                verdict,
                payload,
            } => self.early_result(now, origin, verdict, payload),
            Event::EarlyRun {
                origin,
                worker,
                epoch,
            } => self.scheduler.handle_early_run(now, origin, worker, epoch),
            Event::Discarded(source) => self.scheduler.handle_discarded(now, source),
            Event::Returned {
                handle,
                attempt,
                worker,
                epoch,
            } => {
                self.scheduler
                    .handle_returned(now, handle, attempt, worker, epoch);
            }
            Event::SlotFreed { worker, epoch } => {
                self.scheduler.handle_slot_freed(now, worker, epoch);
            }
            _ => debug_assert!(false, "not about an attempt"),
        }
    }

    fn sweep(&mut self, now: Instant, port: PortId, sweep: Sweep) {
        if !self.scheduler.handle_sweep(now, port, sweep) {
            let token = sweep.token;
            self.end(port).reply(Reply::SweepRefused { token });
        }
    }

    fn submit(&mut self, now: Instant, port: PortId, client: ClientId, submit: Submit, payload: P) {
        let bytes = payload_len(&payload);
        let submit = submit.payload_bytes(u32::try_from(bytes).unwrap_or(u32::MAX));
        let submitted = if self.has_session(port, client) {
            self.scheduler.handle_submit(now, client, submit)
        } else {
            Submitted::Refused(Refusal::NoSession)
        };
        match submitted {
            Submitted::Accepted(handle) => self.tasks.put(handle.index(), payload),
            Submitted::Refused(refusal) => {
                let reply = OutcomeReply {
                    client,
                    task: submit.task,
                    handle: TaskHandle::from_bits(0),
                    seq: 0,
                    outcome: Outcome::Refused(refusal),
                    worker: None,
                    attempts: 0,
                    tried: Tried::NOBODY,
                    part: false,
                    has_payload: false,
                    keep: false,
                };
                self.end(port).reply(Reply::Outcome {
                    reply,
                    payload: None,
                });
            }
            Submitted::Known | Submitted::NotRerun => {}
        }
    }

    /// A decided task's stored payload is its result from here on.
    fn store_result(&mut self, report: Report, reported: Reported, payload: Option<P>) {
        if reported == Reported::Counted {
            self.store(report.handle, payload);
        }
    }

    fn store(&mut self, handle: TaskHandle, payload: Option<P>) {
        let bytes = payload.as_ref().map_or(0, payload_len);
        match payload {
            Some(payload) => self.tasks.put(handle.index(), payload),
            None => drop(self.tasks.take(handle.index())),
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.scheduler.handle_result_stored(handle, bytes);
    }

    fn reported(&mut self, now: Instant, report: Report, payload: Option<P>) {
        let (report, payload) = self.take_result(report, payload);
        let reported = self.scheduler.handle_reported(now, report);
        self.store_result(report, reported, payload);
    }

    /// A result that there is no room for is dropped, and its attempt has failed.
    fn take_result(&self, report: Report, payload: Option<P>) -> (Report, Option<P>) {
        let bytes = payload.as_ref().map_or(0, payload_len);
        if self.scheduler.has_room_for_result(bytes as u64) {
            return (report, payload);
        }
        let verdict = Verdict::Failed;
        (Report { verdict, ..report }, None)
    }

    fn handed_in(&mut self, now: Instant, instance: u64, report: Report, payload: Option<P>) {
        let (report, payload) = self.take_result(report, payload);
        if self.is_being_read(report.handle.index()) {
            // Claimed at this moment: whoever has a result already was not given the task.
            return;
        }
        let mut reported = self.scheduler.handle_handed_in(now, instance, report, None);
        if let Reported::AskFirst(stamp) = reported {
            let answer = self.revoke(report.handle, stamp);
            // Lost, but to another worker, or to one that has not even read it: not of that
            // attempt.
            let index = report.handle.index();
            let theirs = self.tasks.claimed_by(index) == Some(report.worker);
            if answer == Revoked::Lost && !(theirs && self.tasks.is_settled(index)) {
                return;
            }
            reported = self
                .scheduler
                .handle_handed_in(now, instance, report, Some(answer));
        }
        self.store_result(report, reported, payload);
    }

    fn still_runs(&mut self, now: Instant, instance: u64, attempt: AttemptAt) {
        let index = attempt.handle.index();
        if self.is_being_read(index) {
            // Claimed at this moment: whoever runs it already was not given it.
            return;
        }
        let still = self
            .scheduler
            .handle_still_runs(now, instance, attempt, None);
        if let StillRuns::AskFirst(stamp) = still {
            let answer = self.revoke(attempt.handle, stamp);
            let theirs = self.tasks.claimed_by(index) == Some(attempt.worker);
            if answer == Revoked::Lost && !(theirs && self.tasks.is_settled(index)) {
                return;
            }
            let _counted = self
                .scheduler
                .handle_still_runs(now, instance, attempt, Some(answer));
        }
    }

    fn early_result(&mut self, now: Instant, origin: Origin, verdict: Verdict, payload: Option<P>) {
        let bytes = payload.as_ref().map_or(0, payload_len);
        if !self.scheduler.has_room_for_result(bytes as u64) {
            return;
        }
        let mut early = self
            .scheduler
            .handle_early_result(now, origin, verdict, None);
        if let Early::AskFirst(handle, stamp) = early {
            let answer = self.revoke(handle, stamp);
            early = self
                .scheduler
                .handle_early_result(now, origin, verdict, Some(answer));
        }
        if let Early::Counted(handle) | Early::Kept(handle) = early {
            self.store(handle, payload);
        }
    }

    /// At once, and only where there is room to spare: so it holds nothing up, and comes before
    /// the outcome.
    fn handle_output(&mut self, now: Instant, port: PortId, event: Event<P>) {
        let Event::Output {
            instance,
            attempt,
            printed,
            payload,
        } = event
        else {
            if let Event::OutputMissed { attempt, missed } = event {
                self.scheduler.handle_output_missed(now, attempt, missed);
            }
            return;
        };
        let bytes = payload_len(&payload);
        self.end(port).output_events.take(bytes);
        let told = self
            .scheduler
            .handle_output(now, instance, attempt, printed);
        let Some((port, reply)) = told else { return };
        if self.end(port).has_spare_room(bytes) {
            self.end(port).output_replies.add(bytes);
            self.end(port).reply(Reply::Output { reply, payload });
        } else {
            self.scheduler.handle_output_dropped(now, &reply);
        }
    }

    /// A claimant has not yet let go of the payload: it may not be touched.
    fn is_being_read(&self, index: u32) -> bool {
        index < self.limits().tasks()
            && !self.tasks.is_settled(index)
            && self.tasks.claimed_by(index).is_some()
    }

    fn revoke(&mut self, handle: TaskHandle, stamp: Stamp) -> Revoked {
        self.tasks.revoke(handle.index(), stamp)
    }

    // ---- effects ----

    fn apply_effects(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while count < EFFECTS_PER_CYCLE
            && let Some(effect) = self.scheduler.poll_effect(now)
        {
            self.apply(now, effect);
            count += 1;
        }
        count
    }

    fn apply(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Offer { worker, envelope } => self.offer(worker, envelope),
            Effect::Revoke { handle, stamp } => {
                let answer = self.revoke(handle, stamp);
                self.scheduler.handle_revoked(now, handle, stamp, answer);
            }
            Effect::Share { from, to } => {
                if let Some(payload) = self.tasks.share(from.index()) {
                    self.tasks.put(to.index(), payload);
                }
            }
            Effect::Release { handle } => drop(self.tasks.take(handle.index())),
        }
    }

    fn offer(&mut self, worker: WorkerId, envelope: Envelope) {
        let Some(Some(mailbox)) = self.mailboxes.get_mut(worker.0 as usize) else {
            debug_assert!(false, "an offer to {worker:?}, which never had a mailbox");
            return;
        };
        // Published before it can be popped: whoever pops it must be able to claim it.
        self.tasks.publish(envelope.handle.index(), envelope.stamp);
        assert!(
            mailbox.producer.push(envelope).is_ok(),
            "the credit of {worker:?} was overdrawn"
        );
        self.ports[usize::from(mailbox.port.0)].ring_for(worker);
    }

    fn inject(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while self.pool.has_room()
            && let Some(envelope) = self.scheduler.poll_inject(now)
        {
            self.tasks.publish(envelope.handle.index(), envelope.stamp);
            assert!(self.pool.push(envelope).is_ok(), "the pool had room");
            count += 1;
        }
        if count > 0 {
            self.sleepers.wake(count);
        }
        count
    }

    // ---- replies ----

    fn pass_on_replies(&mut self, now: Instant) -> usize {
        let mut count = 0;
        for _ in 0..=self.ports.len() {
            let Some(port) = self.scheduler.poll_due_port() else {
                break;
            };
            count += self.pass_on_to(now, port);
        }
        for end in &mut self.ports {
            end.ring();
        }
        count
    }

    fn pass_on_to(&mut self, now: Instant, port: PortId) -> usize {
        if self.end(port).is_gone() {
            return self.settle_gone(now, port);
        }
        for count in 0..REPLIES_PER_PORT {
            let end = self.end(port);
            if !end.has_reply_room() {
                end.deferred = true;
                return count;
            }
            let Some(reply) = self.scheduler.poll_reply(now, port) else {
                return count;
            };
            self.pass_on(port, reply);
        }
        self.scheduler.defer_port(port);
        REPLIES_PER_PORT
    }

    fn pass_on(&mut self, port: PortId, reply: taskyard_core::Reply) {
        use taskyard_core::Reply as Due;
        let reply = match reply {
            Due::Outcome(reply) => {
                let payload = self.outcome_payload(&reply);
                Reply::Outcome { reply, payload }
            }
            Due::Abort {
                worker,
                epoch,
                handle,
                attempt,
            } => Reply::Abort {
                worker,
                epoch,
                handle,
                attempt,
            },
            Due::Recall {
                worker,
                epoch,
                handle,
                attempt,
            } => Reply::Recall {
                worker,
                epoch,
                handle,
                attempt,
            },
            Due::Evict { worker, epoch } => self.eviction(worker, epoch),
            Due::Pause {
                worker,
                epoch,
                paused,
            } => Reply::Pause {
                worker,
                epoch,
                paused,
            },
            Due::Swept { token, touched } => Reply::Swept { token, touched },
            Due::Notice(notice) => Reply::Notice(notice),
            Due::OutputMissed { client, missed } => Reply::OutputMissed { client, missed },
            Due::Retire {
                worker,
                epoch,
                settled,
            } => {
                if let Some(mailbox) = &mut self.mailboxes[worker.0 as usize] {
                    mailbox.retiring = true;
                }
                Reply::Retire {
                    worker,
                    epoch,
                    settled,
                }
            }
            Due::Admitted {
                token,
                worker,
                epoch,
            } => {
                return self.admit(port, token, worker, epoch);
            }
            Due::NotAdmitted { token, refusal } => {
                self.end(port).places -= 1;
                Reply::NotRegistered { token, refusal }
            }
        };
        self.end(port).reply(reply);
    }

    fn eviction(&self, worker: WorkerId, epoch: Epoch) -> Reply<P> {
        Reply::Evict {
            worker,
            epoch,
            drained: self.scheduler.is_draining(worker, epoch),
        }
    }

    fn outcome_payload(&mut self, reply: &OutcomeReply) -> Option<P> {
        let index = reply.handle.index();
        if reply.has_payload && reply.keep {
            return self.tasks.share(index);
        }
        // What is stored is either the result, handed over here, or a request that nobody needs
        // now.
        let stored = self.tasks.take(index);
        stored.filter(|_| reply.has_payload)
    }
}

impl<P: Payload> fmt::Debug for Dispatcher<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("ports", &self.ports.len())
            .field("stats", self.scheduler.stats())
            .finish_non_exhaustive()
    }
}

/// Wakes the thread that drives a dispatcher, for something that comes through no port.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Bell,
}

impl Waker {
    /// Ends the thread's sleep. Raise a flag first: the thread looks at it after
    /// [`prepare_sleep`](Dispatcher::prepare_sleep), and then either sees it or is woken.
    pub fn wake(&self) {
        self.bell.wake();
    }
}
