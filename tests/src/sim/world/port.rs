//! A port's thread: it passes on what the lines bring, reads replies, and takes tasks for its
//! workers.

use taskyard_core::{
    ClientId, Envelope, Epoch, Instant, OutcomeReply, Report, Source, Token, WorkerSlots,
};
use taskyard_dispatcher::Consumer;

use super::World;
use super::line::{FromClient, FromWorker, NOBODY, Side, ToClient, ToWorker};
use crate::sim::alloc::hot;
use crate::sim::breakage::Break;
use crate::sim::checkers::outcomes::result_of;
use crate::sim::driver::{Event, PortEnds, Reply};
use crate::sim::fact::{Fact, Job, Post, job_of};
use crate::sim::options::Fault;

/// Events that one step of a port may cause.
const ROOM: usize = 2;

#[derive(Debug)]
pub(super) struct Port {
    ends: PortEnds,
    /// Lines of workers and of clients that it serves.
    pub(super) staff: Vec<usize>,
    pub(super) guests: Vec<usize>,
    /// By place: the mailbox that it reads.
    boxes: Vec<Option<(Epoch, Consumer<Envelope>)>>,
    /// Departures that wait for room.
    lost: Vec<Post>,
    retired: Vec<Post>,
    parted: Vec<ClientId>,
    paused: Vec<Post>,
    pub(super) stalled_until: Instant,
    /// Lines whose hello is with the dispatcher.
    awaiting: Vec<usize>,
}

impl Port {
    pub(super) const fn new(ends: PortEnds) -> Self {
        Self {
            ends,
            staff: Vec::new(),
            guests: Vec::new(),
            boxes: Vec::new(),
            lost: Vec::new(),
            retired: Vec::new(),
            parted: Vec::new(),
            paused: Vec::new(),
            stalled_until: Instant(0),
            awaiting: Vec::new(),
        }
    }

    fn send(&mut self, event: Event) {
        let is_sent = hot(|| self.ends.events.push(event).is_ok());
        assert!(is_sent, "the port has asked for room");
    }

    fn has_room(&mut self, events: usize) -> bool {
        self.ends.events.has_room(events)
    }

    /// Says what has waited for room: who has gone, who is paused, whose mailbox comes back.
    fn flush(&mut self, loses: bool) -> bool {
        let mut any = false;
        while self.has_room(1) {
            if let Some(client) = self.parted.pop() {
                self.send(Event::ClientDown(client));
            } else if let Some(post) = self.paused.pop() {
                self.send(Event::Paused(post));
            } else if let Some(post) = self.lost.pop() {
                if !loses {
                    self.send(Event::WorkerDown(post));
                }
            } else if let Some(post) = self.retired.pop() {
                self.hand_back(post);
            } else {
                return any;
            }
            any = true;
        }
        any
    }

    fn hand_back(&mut self, post: Post) {
        let place = self.boxes.get_mut(post.worker.0 as usize);
        let kept = place.and_then(|place| place.take_if(|(epoch, _)| *epoch == post.epoch));
        if let Some((_, mut mailbox)) = kept {
            while mailbox.pop().is_some() {}
            self.send(Event::Drained(post, mailbox));
        }
    }
}

impl World {
    /// Something that the port does next; whether there was anything.
    pub(super) fn port_turn(&mut self, at: usize) -> bool {
        match self.rng.below(8) {
            0..3 => self.serve_some_worker(at),
            3 | 4 => self.serve_some_client(at),
            5 | 6 => self.take(at),
            _ => self.read_replies(at, 4),
        }
    }

    /// All that a port can do now.
    pub(super) fn port_settle(&mut self, at: usize) -> bool {
        let mut any = self.flush(at);
        any |= self.read_replies(at, usize::MAX);
        for index in 0..self.ports[at].staff.len() {
            while let Some(&line) = self.ports[at].staff.get(index)
                && self.serve_worker(at, line)
            {
                any = true;
            }
        }
        for index in 0..self.ports[at].guests.len() {
            while let Some(&line) = self.ports[at].guests.get(index)
                && self.serve_client(at, line)
            {
                any = true;
            }
        }
        while self.take(at) {
            any = true;
        }
        any
    }

    fn flush(&mut self, at: usize) -> bool {
        let loses = self.breaks(Break::LoseLoss);
        self.ports[at].flush(loses)
    }

    fn has_room(&mut self, at: usize) -> bool {
        self.flush(at);
        let has_room = self.ports[at].has_room(ROOM);
        self.watch.mark_if(!has_room, "ring_full");
        has_room
    }

    // ---- workers ----

    fn serve_some_worker(&mut self, at: usize) -> bool {
        let staff = &self.ports[at].staff;
        let place = self.rng.place(staff.len());
        staff
            .get(place)
            .copied()
            .is_some_and(|line| self.serve_worker(at, line))
    }

    fn serve_worker(&mut self, at: usize, index: usize) -> bool {
        let line = &self.worker_lines[index];
        if line.up.is_empty() || line.clogged_until > self.watch.now || !self.has_room(at) {
            return false;
        }
        let line = &mut self.worker_lines[index];
        let Some(said) = line.up.pop_front() else {
            return false;
        };
        let port = &mut self.ports[at];
        match said {
            FromWorker::StillRuns(instance, job) => port.send(Event::StillRuns(instance, job)),
            FromWorker::HandIn(instance, report) => {
                let load = result_of(&report).map(|number| self.mint.make(number));
                port.send(Event::HandedIn(instance, report, load));
                self.acknowledge(index, job_of(&report));
            }
            FromWorker::Register(registration) => {
                line.side = Side::Asked;
                port.send(Event::WorkerUp(registration));
            }
            FromWorker::Result(report) => self.result(at, index, report),
            FromWorker::SlotFreed => {
                if let Side::Open(post) = line.side
                    && line.busy > 0
                {
                    line.busy -= 1;
                    port.send(Event::SlotFreed(post));
                }
            }
            FromWorker::Started(job) => {
                if let Some(place) = line.ahead.iter().position(|out| *out == job) {
                    line.ahead.swap_remove(place);
                    port.send(Event::Started(job));
                }
            }
            FromWorker::GivenBack(job) => {
                if let Some(place) = line.out.iter().position(|(out, _)| *out == job) {
                    line.out.swap_remove(place);
                    line.ahead.retain(|out| *out != job);
                    port.send(Event::GivenBack(job));
                    self.sent_ahead.retain(|other| *other != job);
                    self.watch.see(&Fact::GivenBack(job));
                }
            }
            FromWorker::Gone => self.close_worker(at, index),
        }
        true
    }

    fn result(&mut self, at: usize, index: usize, report: Report) {
        let job = job_of(&report);
        let line = &mut self.worker_lines[index];
        if let Some(place) = line.out.iter().position(|(out, _)| *out == job) {
            line.out.swap_remove(place);
            line.ahead.retain(|out| *out != job);
            self.watch.see(&Fact::Vacated(job));
        }
        let load = result_of(&report).map(|number| self.mint.make(number));
        self.ports[at].send(Event::Reported(report, load));
        self.acknowledge(index, job);
    }

    fn acknowledge(&mut self, index: usize, job: Job) {
        if !self.fires(Fault::AckLost) {
            self.worker_lines[index].down.push_back(ToWorker::Ack(job));
        }
    }

    /// The line is gone: its worker gets nothing more, and the dispatcher is told.
    fn close_worker(&mut self, at: usize, index: usize) {
        let line = &mut self.worker_lines[index];
        let port = &mut self.ports[at];
        let post = line.opened();
        port.lost.extend(post);
        line.side = Side::Closed;
        line.up.clear();
        self.watch
            .mark_if(!line.out.is_empty(), "worker_lost_running");
        line.out.clear();
        port.staff.retain(|other| *other != index);
        // What was sent ahead counts as started now (rule R1).
        let lost = self.sent_ahead.iter().copied();
        let lost: Vec<_> = lost.filter(|job| Some(job.post) == post).collect();
        self.watch.mark_if(!lost.is_empty(), "worker_lost_ahead");
        for job in lost {
            self.started_ahead(job);
        }
        self.flush(at);
    }

    /// One envelope for a worker with a free slot: from its mailbox first, else from the pool for
    /// the one with most free slots.
    fn take(&mut self, at: usize) -> bool {
        if !self.has_room(at) {
            return false;
        }
        let overfills = self.breaks(Break::OverfillSlots);
        let start = self.rng.place(self.ports[at].staff.len());
        let staff = self.ports[at].staff.len();
        let mut most = None;
        for step in 0..staff {
            let index = self.ports[at].staff[(start + step) % staff];
            let line = &self.worker_lines[index];
            let (Some(post), free) = (line.opened(), line.free()) else {
                continue;
            };
            if line.paused || line.places() == 0 && !overfills {
                continue;
            }
            let mailbox = self.ports[at].boxes[post.worker.0 as usize].as_mut();
            if let Some(envelope) = mailbox.and_then(|(_, mailbox)| hot(|| mailbox.pop())) {
                let source = Source::Mailbox {
                    worker: post.worker,
                    epoch: post.epoch,
                };
                self.claim(at, index, post, envelope, source);
                return true;
            }
            if most.is_none_or(|(_, _, more)| free > more) {
                most = Some((index, post, free));
            }
        }
        let Some((index, post, _)) = most else {
            return false;
        };
        let Some(envelope) = hot(|| self.ports[at].ends.pool.steal()) else {
            return false;
        };
        self.claim(at, index, post, envelope, Source::Pool);
        true
    }

    fn claim(&mut self, at: usize, index: usize, post: Post, envelope: Envelope, source: Source) {
        let Envelope {
            handle,
            stamp,
            attempt,
            ..
        } = envelope;
        let claimed = hot(|| {
            self.ports[at]
                .ends
                .tasks
                .claim(handle.index(), stamp, post.worker)
        });
        let load = claimed.as_ref().map_or(0, |load| load.number);
        let is_claimed = claimed.is_some();
        drop(claimed);
        self.watch.see(&Fact::Popped {
            source,
            envelope,
            post,
            claimed: is_claimed,
            load,
        });
        if !is_claimed {
            if !(self.breaks(Break::LoseCredit) && self.watch.break_now(4)) {
                self.ports[at].send(Event::Discarded(source));
            }
            return;
        }
        let job = Job {
            handle,
            attempt,
            post,
        };
        let line = &self.worker_lines[index];
        let is_ahead = !line.ahead.is_empty() || line.free() == 0 && line.places() > 0;
        if source == Source::Pool {
            let claimed = if is_ahead {
                Event::Prefetched(job)
            } else {
                Event::Claimed(job)
            };
            if !(self.breaks(Break::LoseClaim) && self.watch.break_now(16)) {
                self.ports[at].send(claimed);
            }
        } else {
            self.watch.checkers.credit.claimed_from_mailbox(job);
        }
        let lies = self.breaks(Break::ReturnStarted) && self.watch.break_now(32);
        if self.fires(Fault::SendRefused) || lies {
            self.ports[at].send(Event::Returned(job));
            self.watch.see(&Fact::Returned(job));
            if !lies {
                return;
            }
        }
        if is_ahead {
            self.sent_ahead.push(job);
            self.watch.see(&Fact::Prefetched(job));
        } else {
            self.watch.see(&Fact::Started(job));
        }
        let line = &mut self.worker_lines[index];
        line.out.push((job, source != Source::Pool));
        line.ahead.extend(is_ahead.then_some(job));
        line.down.push_back(ToWorker::Deliver(job, is_ahead));
    }

    /// What was sent ahead has started, or counts as if it had.
    pub(super) fn started_ahead(&mut self, job: Job) {
        if let Some(at) = self.sent_ahead.iter().position(|other| *other == job) {
            self.sent_ahead.remove(at);
            self.watch.see(&Fact::Started(job));
        }
    }

    // ---- clients ----

    fn serve_some_client(&mut self, at: usize) -> bool {
        let guests = &self.ports[at].guests;
        let place = self.rng.place(guests.len());
        guests
            .get(place)
            .copied()
            .is_some_and(|line| self.serve_client(at, line))
    }

    fn serve_client(&mut self, at: usize, index: usize) -> bool {
        let line = &self.client_lines[index];
        let stands_still = line.up.is_empty() || line.clogged_until > self.watch.now;
        // What was said of an earlier session of the same client goes first.
        if stands_still || !self.has_room(at) || !self.ports[at].parted.is_empty() {
            return false;
        }
        let line = &mut self.client_lines[index];
        let Some(said) = line.up.pop_front() else {
            return false;
        };
        let (key, client) = (line.key, line.opened());
        let port = &mut self.ports[at];
        match (said, client) {
            (FromClient::Hello(hello), _) => {
                line.side = Side::Asked;
                port.send(Event::ClientUp(hello));
                self.supersede(at, key, index);
            }
            (FromClient::Submit(submit), Some(client)) => {
                let load = self.mint.make(key << 32 | submit.task.0);
                port.send(Event::Submit(client, submit, load));
            }
            (FromClient::Cancel(task), Some(client)) => port.send(Event::Cancel(client, task)),
            (FromClient::Ack(seq), Some(client)) => port.send(Event::Ack(client, seq)),
            (FromClient::Goodbye, Some(client)) => {
                port.send(Event::Goodbye(client));
                self.leave(at, index);
            }
            (FromClient::Gone, client) => {
                port.parted.extend(client);
                self.leave(at, index);
                self.flush(at);
            }
            // Nothing is said before the welcome.
            (said, None) => unreachable!("{said:?} before a welcome"),
        }
        true
    }

    /// A client has come back on another line of this port: the lines before it count no longer.
    fn supersede(&mut self, at: usize, key: u64, present: usize) {
        let lines = &mut self.client_lines;
        self.ports[at].guests.retain(|&other| {
            let is_old = other < present && lines[other].key == key;
            if is_old {
                lines[other].side = Side::Closed;
                lines[other].key = NOBODY;
            }
            !is_old
        });
        // One that had gone before it was welcome is not to be reported any more.
        for &other in &self.ports[at].awaiting {
            if other < present && lines[other].key == key {
                lines[other].key = NOBODY;
            }
        }
        self.ports[at].awaiting.push(present);
    }

    fn leave(&mut self, at: usize, index: usize) {
        self.client_lines[index].side = Side::Closed;
        self.client_lines[index].up.clear();
        self.ports[at].guests.retain(|other| *other != index);
    }

    // ---- replies ----

    fn read_replies(&mut self, at: usize, limit: usize) -> bool {
        let mut count = 0;
        while count < limit
            && let Some(reply) = hot(|| self.ports[at].ends.replies.pop())
        {
            self.read_reply(at, reply);
            count += 1;
        }
        count > 0
    }

    fn read_reply(&mut self, at: usize, reply: Reply) {
        match reply {
            Reply::Welcome(token, client) => self.welcome(at, token, client),
            Reply::HelloRefused(Token(index)) => {
                let line = &mut self.client_lines[index as usize];
                line.down.push_back(ToClient::Refused);
                self.ports[at]
                    .awaiting
                    .retain(|other| *other != index as usize);
                self.leave(at, index as usize);
            }
            Reply::Outcome(reply, load) => {
                drop(load);
                self.bring_outcome(at, reply);
            }
            Reply::Registered(Token(index), post, slots, mailbox) => {
                self.registered(at, index as usize, post, slots, mailbox);
            }
            Reply::NotRegistered(Token(index)) => {
                let index = index as usize;
                self.worker_lines[index].down.push_back(ToWorker::Closed);
                self.close_worker(at, index);
            }
            Reply::Abort(job) => {
                if let Some(index) = self.line_of(at, job.post) {
                    self.worker_lines[index]
                        .down
                        .push_back(ToWorker::Abort(job));
                }
            }
            Reply::Recall(job) => {
                if let Some(index) = self.line_of(at, job.post) {
                    self.worker_lines[index]
                        .down
                        .push_back(ToWorker::Recall(job));
                }
            }
            Reply::Evict(post) => {
                if let Some(index) = self.line_of(at, post) {
                    self.worker_lines[index].down.push_back(ToWorker::Closed);
                    self.close_worker(at, index);
                }
            }
            Reply::Pause(post, paused) => {
                let ignores = self.breaks(Break::IgnorePause);
                if let Some(index) = self.line_of(at, post) {
                    self.worker_lines[index].paused = paused && !ignores;
                    if paused {
                        self.ports[at].paused.push(post);
                    }
                    self.flush(at);
                }
            }
            Reply::Retire(post) => {
                self.ports[at].retired.push(post);
                self.flush(at);
            }
        }
    }

    fn welcome(&mut self, at: usize, Token(index): Token, client: ClientId) {
        let line = &mut self.client_lines[index as usize];
        self.ports[at]
            .awaiting
            .retain(|other| *other != index as usize);
        if !line.is_closed() {
            line.side = Side::Open(client);
            line.down.push_back(ToClient::Welcome(client));
        } else if line.key != NOBODY {
            self.ports[at].parted.push(client);
            self.flush(at);
        }
    }

    fn bring_outcome(&mut self, at: usize, reply: OutcomeReply) {
        let guests = &self.ports[at].guests;
        let lines = &mut self.client_lines;
        let line = guests
            .iter()
            .find(|index| lines[**index].opened() == Some(reply.client));
        match line {
            Some(index) => lines[*index].down.push_back(ToClient::Outcome(reply)),
            None => self.watch.see(&Fact::Undelivered(reply.task)),
        }
    }

    fn registered(
        &mut self,
        at: usize,
        index: usize,
        post: Post,
        slots: WorkerSlots,
        mailbox: Consumer<Envelope>,
    ) {
        let port = &mut self.ports[at];
        let place = post.worker.0 as usize;
        if port.boxes.len() <= place {
            port.boxes.resize_with(place + 1, || None);
        }
        port.boxes[place] = Some((post.epoch, mailbox));
        let line = &mut self.worker_lines[index];
        if line.is_closed() {
            port.lost.push(post);
            self.flush(at);
            return;
        }
        line.side = Side::Open(post);
        line.slots = usize::from(slots.slots);
        line.prefetch = usize::from(slots.prefetch);
        line.busy = usize::from(slots.busy);
        line.down.push_back(ToWorker::Registered(post));
    }

    fn line_of(&self, at: usize, post: Post) -> Option<usize> {
        let mut staff = self.ports[at].staff.iter().copied();
        staff.find(|index| self.worker_lines[*index].opened() == Some(post))
    }
}
