//! The dispatcher's side: the real scheduler, rings, pool and claim words, driven in small steps
//! whose order and size the seed draws. What `Dispatcher::run_once` does in one go, this may do
//! with anything in between.

mod replies;
mod rings;

use taskyard_core::{
    AttemptAt, ClientHello, ClientId, Config, Effect, Envelope, Epoch, Limits, Loss, PortId,
    Refusal, Registered, Registration, RegistrationRefusal, Report, Reported, Revoked, Scheduler,
    Source, Stamp, StillRuns, Submit, Submitted, Sweep, TaskHandle, Token, WorkerId,
};
use taskyard_dispatcher::{Consumer, Injector, Producer, TaskOwner, pool, ring, task_table};

use self::replies::refusal_reply;
pub(crate) use self::rings::{Event, Load, Mint, PortEnds, Reply};
use super::alloc::hot;
use super::breakage::Break;
use super::fact::{Fact, Job, Post, job_of};
use super::options::{Options, Size};
use super::watch::Watch;

/// The dispatcher's end of a port.
#[derive(Debug)]
struct End {
    events: Consumer<Event>,
    replies: Producer<Reply>,
    /// The scheduler has replies that wait for room.
    deferred: bool,
}

/// The writing end of a worker's mailbox.
#[derive(Debug)]
struct Mailbox {
    producer: Producer<Envelope>,
    /// The reading end, once the place was drained: its next tenant gets the same ring.
    spare: Option<Consumer<Envelope>>,
    epoch: Epoch,
}

/// One kind of step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Events(usize),
    Timeouts,
    Effects,
    Inject,
    Replies,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    tasks: TaskOwner<Load>,
    pool: Injector<Envelope>,
    mailboxes: Vec<Option<Mailbox>>,
    ends: Vec<End>,
    broken: Option<Break>,
}

impl Driver {
    pub(crate) fn new(options: &Options, broken: Option<Break>) -> (Self, Vec<PortEnds>) {
        let limits = limits_of(options);
        let (tasks, claimant) = task_table(limits.tasks() as usize);
        let (injector, stealer) = pool(limits.pool() as usize);
        let mut ends = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..limits.ports() {
            let (event_producer, events) = ring(options.size(Size::Ring) as usize);
            let (replies, reply_consumer) = ring(options.size(Size::Ring) as usize);
            ends.push(End {
                events,
                replies,
                deferred: false,
            });
            ports.push(PortEnds {
                events: event_producer,
                replies: reply_consumer,
                pool: stealer.clone(),
                tasks: claimant.clone(),
            });
        }
        let driver = Self {
            scheduler: Scheduler::new(&limits),
            tasks,
            pool: injector,
            mailboxes: (0..limits.workers()).map(|_| None).collect(),
            ends,
            broken,
        };
        (driver, ports)
    }

    /// A step of one kind, of at most so much; returns how much it was.
    pub(crate) fn step(&mut self, watch: &mut Watch, part: Part, limit: usize) -> usize {
        let done = match part {
            Part::Events(port) => self.drain(watch, port, limit),
            Part::Timeouts => self.time_out(watch),
            Part::Effects => self.apply_effects(watch, limit),
            Part::Inject => self.inject(watch, limit),
            Part::Replies => self.reply(watch, limit),
        };
        watch.after_step(&self.scheduler, done);
        done
    }

    // ---- events ----

    fn drain(&mut self, watch: &mut Watch, port: usize, limit: usize) -> usize {
        let mut count = 0;
        // Each event causes at most one reply of its own.
        while count < limit && self.ends[port].replies.has_room(1) {
            let Some(event) = hot(|| self.ends[port].events.pop()) else {
                break;
            };
            self.handle(watch, PortId(port as u16), event);
            watch.after_call(&self.scheduler);
            count += 1;
        }
        let end = &mut self.ends[port];
        watch.mark_if(!end.replies.has_room(1), "replies_full");
        if end.deferred && end.replies.has_room(1) {
            end.deferred = false;
            self.scheduler.defer_port(PortId(port as u16));
        }
        count
    }

    fn handle(&mut self, watch: &mut Watch, port: PortId, event: Event) {
        let now = watch.now;
        match event {
            Event::ClientUp(hello) => self.client_up(watch, port, hello),
            Event::ClientDown(client) if self.has_session(port, client) => {
                hot(|| self.scheduler.handle_client_down(now, client));
                watch.see(&Fact::ClientDown(client));
            }
            Event::Goodbye(client) if self.has_session(port, client) => {
                hot(|| self.scheduler.handle_goodbye(now, client));
                watch.see(&Fact::Goodbye(client));
            }
            Event::Cancel(client, task) if self.has_session(port, client) => {
                watch.see(&Fact::CancelAsked(client, task));
                hot(|| self.scheduler.handle_cancel(now, client, task));
                self.break_credit(watch);
            }
            Event::Ack(client, seq) if self.has_session(port, client) => {
                watch.see(&Fact::Acked(client, seq));
                hot(|| self.scheduler.handle_ack(now, client, seq));
            }
            // Of a client that has moved on (rule R12).
            Event::ClientDown(_) | Event::Goodbye(_) | Event::Cancel(..) | Event::Ack(..) => {
                watch.mark("left_over_of_a_session");
            }
            Event::Submit(client, submit, load) => self.submit(watch, port, client, submit, load),
            Event::WorkerUp(registration) => self.worker_up(watch, port, registration),
            Event::WorkerDown(post) => {
                watch.see(&Fact::WorkerDown(post));
                hot(|| {
                    self.scheduler
                        .handle_worker_down(now, post.worker, post.epoch, loss_of(post));
                });
            }
            Event::Drained(post, mailbox) => {
                if let Some(place) = &mut self.mailboxes[post.worker.0 as usize] {
                    place.spare = Some(mailbox);
                }
                hot(|| self.scheduler.handle_drained(now, post.worker, post.epoch));
                watch.see(&Fact::Drained(post));
            }
            event => self.handle_work(watch, event),
        }
    }

    /// What is said about attempts.
    fn handle_work(&mut self, watch: &mut Watch, event: Event) {
        let now = watch.now;
        match event {
            Event::Claimed(job) => {
                let (handle, attempt, post) = (job.handle, job.attempt, job.post);
                hot(|| {
                    self.scheduler
                        .handle_claimed(now, handle, attempt, post.worker, post.epoch);
                });
                watch.see(&Fact::ClaimTold(job));
                watch.see(&Fact::Credit(Source::Pool));
            }
            Event::Prefetched(job) => {
                let (handle, attempt, post) = (job.handle, job.attempt, job.post);
                hot(|| {
                    self.scheduler
                        .handle_prefetched(now, handle, attempt, post.worker, post.epoch);
                });
                watch.see(&Fact::ClaimTold(job));
                watch.see(&Fact::Credit(Source::Pool));
            }
            Event::Started(job) => {
                let (handle, attempt, post) = (job.handle, job.attempt, job.post);
                hot(|| {
                    self.scheduler
                        .handle_started(now, handle, attempt, post.worker, post.epoch);
                });
            }
            Event::GivenBack(job) => {
                let (handle, attempt, post) = (job.handle, job.attempt, job.post);
                hot(|| {
                    self.scheduler
                        .handle_given_back(now, handle, attempt, post.worker, post.epoch);
                });
                watch.see(&Fact::TakenBack(job));
            }
            Event::Discarded(source) => {
                hot(|| self.scheduler.handle_discarded(now, source));
                watch.see(&Fact::Credit(source));
            }
            Event::Returned(job) => {
                let (handle, attempt, post) = (job.handle, job.attempt, job.post);
                hot(|| {
                    self.scheduler
                        .handle_returned(now, handle, attempt, post.worker, post.epoch);
                });
                watch.see(&Fact::TakenBack(job));
            }
            Event::Reported(report, load) => self.reported(watch, report, load),
            Event::HandedIn(instance, report, load) => {
                self.handed_in(watch, instance, report, load);
            }
            Event::StillRuns(instance, job) => self.still_runs(watch, instance, job),
            Event::SlotFreed(post) => {
                hot(|| {
                    self.scheduler
                        .handle_slot_freed(now, post.worker, post.epoch);
                });
                watch.see(&Fact::SlotFreed(post));
            }
            Event::Paused(post) => {
                watch.see(&Fact::PauseTold(post));
                hot(|| self.scheduler.handle_paused(now, post.worker, post.epoch));
            }
            other => unreachable!("{other:?} is not about an attempt"),
        }
    }

    fn has_session(&self, port: PortId, client: ClientId) -> bool {
        self.scheduler.client_port(client) == Some(port)
    }

    fn client_up(&mut self, watch: &mut Watch, port: PortId, hello: ClientHello) {
        let (now, token) = (watch.now, hello.token);
        let reply = match hot(|| self.scheduler.handle_client_up(now, port, hello)) {
            Ok(welcome) => {
                watch.see(&Fact::ClientUp {
                    key: hello.key as u64,
                    client: welcome.client,
                    resumed: welcome.resumed,
                    keeps: hello.keep_outcomes,
                });
                Reply::Welcome(token, welcome.client)
            }
            Err(_) => {
                watch.mark("hello_refused");
                Reply::HelloRefused(token)
            }
        };
        self.push(port, reply);
    }

    fn submit(
        &mut self,
        watch: &mut Watch,
        port: PortId,
        client: ClientId,
        submit: Submit,
        load: Load,
    ) {
        let (now, key, addressed) = (watch.now, load.number >> 32, self.scheduler.workers_up());
        let answer = if self.has_session(port, client) {
            hot(|| self.scheduler.handle_submit(now, client, submit))
        } else {
            Submitted::Refused(Refusal::NoSession)
        };
        watch.see(&Fact::Submitted {
            key,
            client,
            submit,
            answer,
            addressed,
        });
        match answer {
            Submitted::Accepted(handle) => {
                hot(|| self.tasks.put(handle.index(), load));
                let again = self.scheduler.handle_submit(now, client, submit);
                assert_eq!(
                    again,
                    Submitted::Known,
                    "I1: the same submit is accepted twice"
                );
            }
            Submitted::Refused(refusal) => {
                let reply = refusal_reply(client, submit.task, refusal);
                self.push(port, Reply::Outcome(reply, None));
            }
            Submitted::Known | Submitted::NotRerun => {}
        }
    }

    fn worker_up(&mut self, watch: &mut Watch, port: PortId, registration: Registration) {
        let (now, token) = (watch.now, registration.token);
        match hot(|| self.scheduler.handle_worker_up(now, port, registration)) {
            Registered::Admitted { worker, epoch } => {
                watch
                    .names
                    .push((token, registration.name, registration.labels));
                self.admit(watch, port, token, Post { worker, epoch });
            }
            Registered::Pending => {
                watch
                    .names
                    .push((token, registration.name, registration.labels));
                watch.see(&Fact::Pending);
            }
            Registered::Refused(refusal) => {
                watch.mark(match refusal {
                    RegistrationRefusal::NameTaken => "name_taken",
                    RegistrationRefusal::WorkersFull => "workers_full",
                    RegistrationRefusal::LabelsFull => "labels_full",
                    _ => "registration_stale",
                });
                watch.see(&Fact::NotAdmitted);
                self.push(port, Reply::NotRegistered(token));
            }
        }
    }

    fn admit(&mut self, watch: &mut Watch, port: PortId, token: Token, post: Post) {
        let capacity = self.scheduler.limits().mailbox() as usize;
        let place = &mut self.mailboxes[post.worker.0 as usize];
        let kept = place
            .take()
            .and_then(|kept| Some((kept.producer, kept.spare?)));
        let (producer, consumer) = kept.unwrap_or_else(|| ring(capacity));
        *place = Some(Mailbox {
            producer,
            spare: None,
            epoch: post.epoch,
        });
        let slots = self.scheduler.worker_slots(post.worker);
        let at = watch.names.iter().position(|(other, ..)| *other == token);
        let (_, name, labels) = watch.names.swap_remove(at.expect("it has registered"));
        watch.see(&Fact::Admitted {
            post,
            name,
            slots,
            labels,
        });
        self.push(port, Reply::Registered(token, post, slots, consumer));
    }

    fn reported(&mut self, watch: &mut Watch, report: Report, load: Option<Load>) {
        let now = watch.now;
        if self.broken == Some(Break::DropCompleted) && watch.break_now(64) {
            return;
        }
        // As if attempt and incarnation were not looked at: the report is of whoever has it now.
        let heard = match self.broken {
            Some(Break::SkipAttemptCheck) => watch.present_holder(report),
            _ => report,
        };
        let reported = hot(|| self.scheduler.handle_reported(now, heard));
        watch.see(&Fact::Reported(report, reported));
        self.store_result(watch, report, reported, load);
    }

    fn still_runs(&mut self, watch: &mut Watch, instance: u64, job: Job) {
        let now = watch.now;
        let at = AttemptAt {
            worker: job.post.worker,
            epoch: job.post.epoch,
            handle: job.handle,
            attempt: job.attempt,
        };
        let mut still = hot(|| self.scheduler.handle_still_runs(now, instance, at, None));
        if let StillRuns::AskFirst(stamp) = still {
            let answer = self.revoke(watch, job.handle, stamp);
            let theirs = self.tasks.claimed_by(job.handle.index()) == Some(job.post.worker);
            if answer == Revoked::Lost && !theirs {
                return;
            }
            still = hot(|| {
                self.scheduler
                    .handle_still_runs(now, instance, at, Some(answer))
            });
        }
        watch.see(&Fact::StillRuns(job, still == StillRuns::Noted));
    }

    fn handed_in(&mut self, watch: &mut Watch, instance: u64, report: Report, load: Option<Load>) {
        let now = watch.now;
        let mut reported = hot(|| self.scheduler.handle_handed_in(now, instance, report, None));
        if let Reported::AskFirst(stamp) = reported {
            let answer = self.revoke(watch, report.handle, stamp);
            watch.mark(match answer {
                Revoked::Won => "asked_first_won",
                Revoked::Lost => "asked_first_lost",
            });
            // Lost to another worker: the report is not of that attempt.
            let theirs = self.tasks.claimed_by(report.handle.index()) == Some(report.worker);
            if answer == Revoked::Lost && !theirs {
                watch.see(&Fact::HandedIn(report, Reported::Dropped));
                return;
            }
            reported = hot(|| {
                self.scheduler
                    .handle_handed_in(now, instance, report, Some(answer))
            });
        }
        watch.see(&Fact::HandedIn(report, reported));
        self.store_result(watch, report, reported, load);
    }

    /// A decided task's stored payload is its result from here on.
    fn store_result(
        &mut self,
        watch: &mut Watch,
        report: Report,
        reported: Reported,
        load: Option<Load>,
    ) {
        if reported != Reported::Counted {
            return;
        }
        let index = report.handle.index();
        match load {
            Some(load) => hot(|| self.tasks.put(index, load)),
            None => drop(self.tasks.take(index)),
        }
        watch.mark_if(job_of(&report).attempt.0 > 1, "later_attempt_counted");
    }

    fn revoke(&mut self, watch: &mut Watch, handle: TaskHandle, stamp: Stamp) -> Revoked {
        let answer = hot(|| self.tasks.revoke(handle.index(), stamp));
        watch.see(&Fact::Revoked(handle, stamp, answer));
        if self.broken == Some(Break::RevokeAlwaysWins) {
            return Revoked::Won;
        }
        answer
    }

    /// The bug of handing credit back when a task is cancelled, while its tombstone is still out.
    fn break_credit(&mut self, watch: &mut Watch) {
        if self.broken != Some(Break::CreditAtCancel) {
            return;
        }
        let taken: Vec<Post> = self
            .mailboxes
            .iter()
            .zip(0..)
            .filter_map(|(mailbox, place)| {
                let epoch = mailbox.as_ref()?.epoch;
                Some(Post {
                    worker: WorkerId(place),
                    epoch,
                })
            })
            .collect();
        if let Some(Post { worker, epoch }) = taken.first().copied() {
            self.scheduler
                .handle_discarded(watch.now, Source::Mailbox { worker, epoch });
        }
    }

    // ---- queue control ----

    pub(crate) fn hold(&mut self, watch: &mut Watch, worker: WorkerId, held: bool) {
        watch.see(&Fact::HoldAsked(worker, held));
        hot(|| self.scheduler.handle_hold(watch.now, worker, held));
        watch.after_call(&self.scheduler);
    }

    pub(crate) fn ask_to_leave(&mut self, watch: &mut Watch, worker: WorkerId) {
        watch.see(&Fact::DrainAsked(worker));
        hot(|| self.scheduler.handle_drain(watch.now, worker));
        watch.after_call(&self.scheduler);
    }

    pub(crate) fn sweep(&mut self, watch: &mut Watch, port: PortId, sweep: Sweep) {
        if hot(|| self.scheduler.handle_sweep(watch.now, port, sweep)) {
            watch.see(&Fact::SweepAsked(sweep));
        } else {
            watch.mark("sweeps_full");
        }
        watch.after_call(&self.scheduler);
    }

    // ---- time, effects, the pool ----

    fn time_out(&mut self, watch: &mut Watch) -> usize {
        let now = watch.now;
        let due = self.scheduler.next_timeout().is_some_and(|due| due <= now);
        if due {
            hot(|| self.scheduler.handle_timeout(now));
            watch.after_call(&self.scheduler);
        }
        usize::from(due)
    }

    fn apply_effects(&mut self, watch: &mut Watch, limit: usize) -> usize {
        for count in 0..limit {
            let effect = hot(|| self.scheduler.poll_effect(watch.now));
            watch.after_call(&self.scheduler);
            let Some(effect) = effect else {
                return count;
            };
            self.apply(watch, effect);
            watch.after_call(&self.scheduler);
        }
        limit
    }

    fn apply(&mut self, watch: &mut Watch, effect: Effect) {
        match effect {
            Effect::Offer { worker, envelope } => self.offer(watch, worker, envelope),
            Effect::Revoke { handle, stamp } => {
                let answer = self.revoke(watch, handle, stamp);
                hot(|| {
                    self.scheduler
                        .handle_revoked(watch.now, handle, stamp, answer);
                });
            }
            Effect::Share { from, to } => {
                watch.see(&Fact::Shared { from, to });
                let load = hot(|| self.tasks.share(from.index()));
                hot(|| {
                    self.tasks
                        .put(to.index(), load.expect("I7: a part without a payload"));
                });
            }
            Effect::Release { handle } => {
                watch.see(&Fact::Released(handle));
                drop(hot(|| self.tasks.take(handle.index())));
            }
        }
    }

    fn offer(&mut self, watch: &mut Watch, worker: WorkerId, envelope: Envelope) {
        let mut place = worker.0 as usize;
        if self.broken == Some(Break::WrongWorker) && watch.break_now(32) {
            let others = self.mailboxes.iter().rposition(Option::is_some);
            place = others.unwrap_or(place);
        }
        hot(|| self.tasks.publish(envelope.handle.index(), envelope.stamp));
        let mailbox = self.mailboxes[place]
            .as_mut()
            .expect("I6: an offer without a mailbox");
        let post = Post {
            worker,
            epoch: mailbox.epoch,
        };
        watch
            .checkers
            .levels
            .check(&self.scheduler, envelope, Some(post));
        watch.see(&Fact::Offered(post, envelope));
        let is_pushed = hot(|| mailbox.producer.push(envelope).is_ok());
        assert!(is_pushed, "I6: the credit of {worker:?} is overdrawn");
    }

    fn inject(&mut self, watch: &mut Watch, limit: usize) -> usize {
        let mut count = 0;
        while count < limit && self.pool.has_room() {
            let Some(envelope) = hot(|| self.scheduler.poll_inject(watch.now)) else {
                return count;
            };
            watch.checkers.levels.check(&self.scheduler, envelope, None);
            hot(|| self.tasks.publish(envelope.handle.index(), envelope.stamp));
            if self.broken == Some(Break::Allocate) {
                drop(hot(|| std::hint::black_box(Box::new(envelope))));
            }
            watch.see(&Fact::Injected(envelope));
            let is_pushed = hot(|| self.pool.push(envelope).is_ok());
            assert!(is_pushed, "I6: the pool had room");
            count += 1;
        }
        watch.mark_if(!self.pool.has_room(), "pool_full");
        count
    }
}

/// How a worker was lost is drawn from its number: most often its connection was closed.
const fn loss_of(post: Post) -> Loss {
    match post.epoch.0 % 8 {
        0 => Loss::Left,
        1 | 2 => Loss::Stalled,
        _ => Loss::Closed,
    }
}

/// How long a client's outcomes are kept, and how long an abort may take.
pub(crate) const KEEP_MS: u64 = 200;
const ABORT_GRACE_MS: u64 = 20;

fn limits_of(options: &Options) -> Limits {
    let size = |size| options.size(size) as u32;
    let config = Config {
        tasks: size(Size::Tasks),
        // One that was replaced is in the way of the next until it is forgotten.
        clients: size(Size::Clients),
        // One that leaves needs its place for some time.
        workers: size(Size::Workers) + size(Size::Spare),
        ports: options.size(Size::Ports) as u16,
        slots_max: 8,
        prefetch_max: 8,
        mailbox: size(Size::Mailbox),
        pool: size(Size::Pool),
        payload_bytes: options.size(Size::Bytes),
        quota: size(Size::Quota).min(size(Size::Tasks)),
        keep_outcomes_ms: KEEP_MS,
        abort_grace_ms: ABORT_GRACE_MS,
        queue_ahead: size(Size::QueueAhead),
        labels: size(Size::Labels),
        rejoin_grace_ms: options.size(Size::Grace),
        stall_grace_ms: 2 * options.size(Size::Grace),
        restart_grace_ms: KEEP_MS / 4,
        work_per_poll: size(Size::WorkPerPoll),
        ..Config::default()
    };
    config.validate().expect("a configuration that makes sense")
}
