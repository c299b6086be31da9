//! The registrations of workers, on the controller's side.
//!
//! ```text
//!  unknown ──anything──▶ asked ──Register──▶ awaiting ──Registered──▶ up ──Register──▶ awaiting …
//!                        │   ▲                  │ NotRegistered       │ gone, leave, evicted,
//!                        └───┘ HandIn           ▼                     ▼ unsendable
//!                                            unknown               unknown (WorkerDown)
//! ```
//! A worker that comes back lists what it finished under earlier registrations (*hand-ins*) and how
//! many attempts still run (*busy*), so that nothing is lost with a connection (rules R2, R5).
//!
//! A worker may report only on attempts that it was given. For its present registration the port
//! knows them one by one. For earlier ones the sessions remember which process held each place
//! last; beyond that a report must match in handle, attempt and epoch, which is for the scheduler
//! to judge.

mod output;

use arrayvec::ArrayVec;
use taskyard_core::{
    Attempt, AttemptAt, Epoch, Labels, Loss, Refusal, Registration, Report, Settled, TaskHandle,
    Token, Verdict, WorkerId, WorkerSlots,
};
use taskyard_dispatcher::{Delivery, Event, Payload, Port};

use crate::codes::{Rejection, STILL_RUNS, verdict_from_code};
use crate::labels::{LABELS_MAX, read_labels};
use crate::log::{Logs, WorkerLog};
use crate::names::WorkerNames;
use crate::peer::{Outbox, PeerKey, Side};
use crate::peers::{NumberMap, Peers};
use crate::sessions::{SessionCounts, SessionOptions, SessionStats, Turn, send_rejected};
use crate::tickets::Tickets;
use crate::wire::{Flags, Head, Header, Kind, Message, OriginTicket, WireError};

/// Results that may stay unacknowledged towards a worker; its tasks carry the number, so this
/// matters only while there are none.
const UNTOLD_MAX: u32 = 32;

/// One incarnation of a worker.
type Incarnation = (WorkerId, Epoch);

#[derive(Debug, Default)]
struct WorkerPeer {
    /// It was asked to register, and has not.
    asked: bool,
    /// The registration that waits for its answer.
    awaiting: Option<Token>,
    up: Option<Up>,
    /// Hand-ins taken since the last registration: its answer acknowledges them.
    hand_ins: u32,
}

/// A registration that holds.
#[derive(Debug)]
struct Up {
    incarnation: Incarnation,
    instance: u64,
    number: u32,
    /// The highest number received from the worker, and the highest that it was told of.
    received: u32,
    told: u32,
}

/// Who holds a place of the worker table, or held it last.
#[derive(Clone, Debug)]
struct Seat {
    epoch: Epoch,
    instance: u64,
    /// Where its tasks go, while it is up.
    peer: Option<PeerKey>,
    name: Box<str>,
    /// Why it is gone, once it is.
    reason: &'static str,
}

/// A registration that the dispatcher has not answered.
#[derive(Debug)]
struct Awaited {
    /// `None` when the connection is gone or a later registration overtook this one: if it is
    /// admitted it is down at once.
    peer: Option<PeerKey>,
    instance: u64,
    number: u32,
    hand_ins: u32,
    name: Box<str>,
    labels: ArrayVec<Box<str>, LABELS_MAX>,
}

/// All workers of one shard.
#[derive(Debug)]
pub(crate) struct WorkerSessions {
    boot: u64,
    tickets: Tickets,
    logs: Logs,
    /// What the end of a connection is taken for now.
    loss: Loss,
    /// The largest payload, as it is told to a worker.
    payload_max: u32,
    names: WorkerNames,
    endpoints: Vec<String>,
    shard: usize,
    /// The endpoint for the next registration that may be redirected.
    next_endpoint: usize,
    peers: Peers<WorkerPeer>,
    /// By the worker's place in the table.
    seats: Vec<Option<Seat>>,
    awaited: NumberMap<u64, Awaited>,
    token_last: u64,
}

impl WorkerSessions {
    pub(crate) fn new(options: SessionOptions) -> Self {
        Self {
            boot: options.boot,
            tickets: Tickets::new(options.ticket_key),
            logs: Logs::default(),
            loss: Loss::Closed,
            payload_max: options.payload_max_told(),
            next_endpoint: options.shard,
            names: options.names,
            endpoints: options.endpoints,
            shard: options.shard,
            peers: Peers::new(options.peers_max),
            seats: Vec::new(),
            awaited: NumberMap::default(),
            token_last: 0,
        }
    }

    pub(crate) fn count(&self, counts: &mut SessionCounts) {
        counts.worker_peers = self.peers.len();
        counts.registrations_awaited = self.awaited.len();
        counts.seats = self.seats.len();
    }

    // ---- from the peer ----

    pub(crate) fn handle_probe<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let known = self.peers.get(turn.peer);
        if known.is_none_or(|entry| entry.up.is_none() && entry.awaiting.is_none()) {
            self.ask(turn);
        }
    }

    /// One that asks whether others are there need not be a worker: a parent that watches over one,
    /// say. If it has not introduced itself, it gives the place back that its greeting took.
    pub(crate) fn release_watcher(&mut self, peer: PeerKey) {
        let is_watcher = |entry: &WorkerPeer| {
            entry.up.is_none() && entry.awaiting.is_none() && entry.hand_ins == 0
        };
        if self.peers.get(peer).is_some_and(is_watcher) {
            self.peers.remove(peer);
        }
    }

    pub(crate) fn handle_register<P: Payload>(
        &mut self,
        message: &Message<'_>,
        payload: Result<Option<P>, Refusal>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let Header {
            seq: number,
            id: instance,
            extra: slots,
            worker: prefetch,
            epoch: busy,
            ..
        } = message.header;
        let labels = labels_of(message, payload.as_ref());
        let (Some(name), Ok(labels)) = (message.name, labels) else {
            turn.stats.malformed += 1;
            return turn.reject(Rejection::Malformed, number.into());
        };
        let keys = Labels::new(labels.iter().map(|label| turn.port.label_key(label)));
        let Some(entry) = self.peers.enter(turn.peer) else {
            turn.stats.peers_full += 1;
            return turn.reject(Rejection::PeersFull, number.into());
        };
        if entry
            .up
            .as_ref()
            .is_some_and(|up| up.instance == instance && up.number >= number)
        {
            turn.stats.rejected += 1;
            return turn.reject(Rejection::RegistrationStale, number.into());
        }
        let hand_ins = core::mem::take(&mut entry.hand_ins);
        let ended = self.end_registration(turn.peer, "it registers anew");
        let key = turn.port.name_key(name);
        if !message.header.flags.has(Flags::NO_REDIRECT)
            && let Some(endpoint) = self.redirect()
        {
            let mut header = Header::new(Kind::Redirect);
            header.ack = hand_ins;
            header.id = number.into();
            let head = Head::new(&header).body(endpoint.as_bytes());
            turn.stats.redirected += 1;
            self.peers.remove(turn.peer);
            report_down(ended, self.loss, turn.port);
            let _counted = turn.answer(head);
            return;
        }
        self.token_last += 1;
        let token = Token(self.token_last);
        if let Some(entry) = self.peers.get_mut(turn.peer) {
            entry.awaiting = Some(token);
        }
        let awaited = Awaited {
            peer: Some(turn.peer),
            instance,
            number,
            hand_ins,
            name: name.into(),
            labels: labels.into_iter().map(Into::into).collect(),
        };
        self.awaited.insert(token.0, awaited);
        turn.port.send(Event::WorkerUp(Registration {
            name: key,
            instance,
            number,
            slots,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            busy: u16::try_from(busy).unwrap_or(u16::MAX),
            labels: keys,
            token,
        }));
        // Last, since losses that waited for room may use up all that there is. The scheduler lets
        // the newcomer wait for it.
        report_down(ended, self.loss, turn.port);
    }

    pub(crate) fn handle_result<P: Payload>(
        &mut self,
        message: &Message<'_>,
        payload: Result<Option<P>, Refusal>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let peer = turn.peer;
        let Some(up) = self.peers.get_mut(peer).and_then(|entry| entry.up.as_mut()) else {
            turn.stats.unregistered += 1;
            if self
                .peers
                .get(peer)
                .is_none_or(|entry| entry.awaiting.is_none())
            {
                self.ask(turn);
            }
            return;
        };
        let seq = message.header.seq;
        if seq != 0 && seq <= up.received {
            turn.stats.duplicate += 1;
            return;
        }
        up.received = up.received.max(seq);
        let (incarnation, instance) = (up.incarnation, up.instance);
        Self::tell(up, turn);
        let (report, payload) = read_report(message, payload, turn);
        if message.boot.is_some_and(|boot| boot != self.boot) {
            self.bring_early(instance, message, report.verdict, payload, turn);
            turn.port.slot_freed(incarnation.0, incarnation.1);
        } else if (report.worker, report.epoch) == incarnation {
            let counted = turn.port.reported(report, payload);
            turn.stats.report_stale += u64::from(!counted);
        } else if self.is_foreign(&report, |holder| holder != instance) {
            turn.stats.foreign += 1;
        } else {
            turn.port.send(Event::HandedIn {
                instance,
                report,
                payload,
            });
            turn.port.slot_freed(incarnation.0, incarnation.1);
        }
    }

    /// A result from before this controller. With a ticket that its sender was given it is the
    /// scheduler's to judge; without one it is dropped, and acknowledged like any other.
    fn bring_early<P: Payload>(
        &self,
        instance: u64,
        message: &Message<'_>,
        verdict: Verdict,
        payload: Option<P>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        turn.stats.other_boot += 1;
        let shown = message.origin.as_ref();
        match shown.and_then(|shown| self.tickets.check(instance, shown)) {
            Some(origin) => turn.port.send(Event::EarlyResult {
                origin,
                verdict,
                payload,
            }),
            None => turn.stats.foreign += u64::from(shown.is_some()),
        }
    }

    /// A worker has started a task that it was sent ahead, or gives it back.
    pub(crate) fn handle_prefetched<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let header = &message.header;
        if let (Kind::Started, Some(shown)) = (header.kind, &message.origin) {
            return self.adopt(shown, turn);
        }
        let (worker, epoch) = (WorkerId(header.worker), Epoch(header.epoch));
        let holder = self.find((worker, epoch));
        if holder.is_none_or(|(peer, _)| peer != turn.peer) {
            turn.stats.report_stale += 1;
            return;
        }
        let (handle, attempt) = (TaskHandle::from_bits(header.id), Attempt(header.attempt));
        let known = if header.kind == Kind::Started {
            turn.port.started(worker, epoch, handle, attempt)
        } else {
            turn.port.given_back(worker, epoch, handle, attempt)
        };
        turn.stats.report_stale += u64::from(!known);
    }

    /// A worker that is registered still runs what an earlier controller gave it.
    fn adopt<P: Payload>(&self, shown: &OriginTicket, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let up = self
            .peers
            .get(turn.peer)
            .and_then(|entry| entry.up.as_ref());
        let known =
            up.and_then(|up| Some((up.incarnation, self.tickets.check(up.instance, shown)?)));
        match known {
            Some(((worker, epoch), origin)) => turn.port.send(Event::EarlyRun {
                origin,
                worker,
                epoch,
            }),
            None => turn.stats.foreign += 1,
        }
    }

    /// Answers a result that cannot be taken apart. If its fixed part names an attempt of the
    /// present registration, that attempt has failed: its task must not wait for a better report.
    pub(crate) fn handle_garbage<P: Payload>(
        &mut self,
        header: &Header,
        error: WireError,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        turn.reject(error.into(), 0);
        let is_up = self.find((WorkerId(header.worker), Epoch(header.epoch)));
        if is_up.is_some_and(|(peer, _)| peer == turn.peer) {
            let message = Message {
                header: *header,
                name: None,
                deadlines: None,
                options: None,
                boot: None,
                origin: None,
                body: &[],
            };
            self.handle_result(&message, Err(Refusal::Malformed), turn);
        }
    }

    /// Takes a result of an earlier registration. It comes before the registration that it belongs
    /// to, so nothing is known of its sender but its process instance, which stands where other
    /// messages have their numbers.
    pub(crate) fn handle_hand_in<P: Payload>(
        &mut self,
        message: &Message<'_>,
        payload: Result<Option<P>, Refusal>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let Some(entry) = self.peers.enter(turn.peer) else {
            turn.stats.peers_full += 1;
            return turn.reject(Rejection::PeersFull, 0);
        };
        let header = &message.header;
        let instance = u64::from(header.seq) | u64::from(header.ack) << 32;
        if header.code == STILL_RUNS {
            if message.boot == Some(self.boot) {
                let attempt = AttemptAt {
                    worker: WorkerId(header.worker),
                    epoch: Epoch(header.epoch),
                    handle: TaskHandle::from_bits(header.id),
                    attempt: Attempt(header.attempt),
                };
                turn.port.send(Event::StillRuns { instance, attempt });
            }
            return;
        }
        entry.hand_ins = entry.hand_ins.saturating_add(1);
        let (report, payload) = read_report(message, payload, turn);
        if message.boot != Some(self.boot) {
            self.bring_early(instance, message, report.verdict, payload, turn);
        } else if self.is_foreign(&report, |holder| holder != instance) {
            turn.stats.foreign += 1;
        } else {
            turn.port.send(Event::HandedIn {
                instance,
                report,
                payload,
            });
        }
    }

    pub(crate) fn handle_leave<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        self.handle_gone(turn.peer, Loss::Left, "it has left", turn.port);
    }

    /// It wants to leave once it has done what it has: it is given nothing more, and told when.
    pub(crate) fn handle_drain<P: Payload>(&self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let entry = self.peers.get(turn.peer);
        if let Some(up) = entry.and_then(|entry| entry.up.as_ref()) {
            turn.port.send(Event::Drain(up.incarnation.0));
        }
    }

    /// Its connection has ended.
    pub(crate) fn handle_ended<P: Payload>(&mut self, peer: PeerKey, port: &mut Port<P>) {
        let reason = match self.loss {
            Loss::Stalled => "its connection ended while we did not run",
            _ => "its connection ended",
        };
        self.handle_gone(peer, self.loss, reason, port);
    }

    fn handle_gone<P: Payload>(
        &mut self,
        peer: PeerKey,
        loss: Loss,
        reason: &'static str,
        port: &mut Port<P>,
    ) {
        let ended = self.end_registration(peer, reason);
        self.peers.remove(peer);
        report_down(ended, loss, port);
    }

    /// Whether this process had not run for a while: then an ended connection says little.
    pub(crate) const fn note_stall(&mut self, stalled: bool) {
        self.loss = if stalled { Loss::Stalled } else { Loss::Closed };
    }

    /// A fact for the log.
    pub(crate) fn poll_log(&mut self) -> Option<WorkerLog> {
        self.logs.pop()
    }

    /// Facts that there was no room for.
    pub(crate) const fn logs_dropped(&self) -> u64 {
        self.logs.dropped()
    }

    /// The tasks of a lost worker are settled.
    pub(crate) fn handle_retired(&mut self, (worker, epoch): Incarnation, settled: Settled) {
        let seat = self.seats.get(worker.0 as usize).and_then(Option::as_ref);
        if let Some(seat) = seat.filter(|seat| seat.epoch == epoch) {
            self.logs.push(WorkerLog::Lost {
                worker,
                epoch,
                name: seat.name.clone(),
                reason: seat.reason,
                settled,
            });
        }
    }

    // ---- from the dispatcher ----

    pub(crate) fn handle_registered<P: Payload>(
        &mut self,
        token: Token,
        incarnation: Incarnation,
        slots: WorkerSlots,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let awaited = self.awaited.remove(&token.0);
        let Some((peer, awaited)) = awaited.and_then(|awaited| Some((awaited.peer?, awaited)))
        else {
            stats.superseded += 1;
            return port.worker_down(incarnation.0, incarnation.1, Loss::Closed);
        };
        let Awaited {
            instance,
            number,
            hand_ins,
            name,
            labels,
            ..
        } = awaited;
        self.names.note(incarnation, &name, &labels);
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.asked = false;
            entry.awaiting = None;
            entry.up = Some(Up {
                incarnation,
                instance,
                number,
                received: 0,
                told: 0,
            });
        }
        self.logs.push(WorkerLog::Registered {
            worker: incarnation.0,
            epoch: incarnation.1,
            name: name.clone(),
            slots: slots.slots,
        });
        self.take_seat(incarnation, instance, peer, name);
        let mut header = Header::new(Kind::Registered);
        header.flags = Flags::HAS_WORKER;
        header.seq = self.payload_max;
        header.ack = hand_ins;
        header.worker = incarnation.0.0;
        header.epoch = incarnation.1.0;
        header.id = number.into();
        header.extra = slots.slots;
        header.code = u8::try_from(slots.prefetch).unwrap_or(u8::MAX);
        let mut head = Head::new(&header).boot(self.boot);
        if out.send(Side::Worker, peer, &mut head, None).is_err() {
            stats.unsent += 1;
            self.end_unsendable(peer, port, out);
        }
    }

    pub(crate) fn handle_refused<P>(
        &mut self,
        token: Token,
        rejection: Rejection,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        stats.rejected += 1;
        let Some(awaited) = self.awaited.remove(&token.0) else {
            return;
        };
        self.logs.push(WorkerLog::Rejected {
            name: awaited.name,
            rejection,
        });
        if let Some(peer) = awaited.peer {
            self.peers.remove(peer);
            send_rejected(
                Side::Worker,
                peer,
                rejection,
                awaited.number.into(),
                out,
                stats,
            );
        }
    }

    pub(crate) fn handle_abort<P>(
        &mut self,
        incarnation: Incarnation,
        (handle, attempt): (TaskHandle, Attempt),
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some((peer, _)) = self.find(incarnation) else {
            return;
        };
        let header = attempt_header(Kind::Abort, incarnation, handle, attempt);
        let sent = out.send(Side::Worker, peer, &mut Head::new(&header), None);
        stats.unsent += u64::from(sent.is_err());
    }

    pub(crate) fn handle_recall<P>(
        &mut self,
        incarnation: Incarnation,
        (handle, attempt): (TaskHandle, Attempt),
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some((peer, _)) = self.find(incarnation) else {
            return;
        };
        let header = attempt_header(Kind::Revoke, incarnation, handle, attempt);
        let sent = out.send(Side::Worker, peer, &mut Head::new(&header), None);
        stats.unsent += u64::from(sent.is_err());
    }

    pub(crate) fn handle_evict<P: Payload>(
        &mut self,
        incarnation: Incarnation,
        drained: bool,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        // One that is drained has nothing left to finish, and shall not register again.
        let (kind, loss, reason) = match drained {
            true => (Kind::Drain, Loss::Left, "it was drained"),
            false => (Kind::Evict, Loss::Closed, "it was sent away"),
        };
        if let Some((peer, _)) = self.find(incarnation) {
            let mut header = Header::new(kind);
            header.flags = Flags::HAS_WORKER;
            header.worker = incarnation.0.0;
            header.epoch = incarnation.1.0;
            let sent = out.send(Side::Worker, peer, &mut Head::new(&header), None);
            stats.unsent += u64::from(sent.is_err());
            self.handle_gone(peer, loss, reason, port);
        }
        port.worker_down(incarnation.0, incarnation.1, loss);
    }

    pub(crate) fn handle_delivery<P: Payload>(
        &mut self,
        delivery: &Delivery<P>,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Delivery {
            worker,
            epoch,
            handle,
            attempt,
            ..
        } = *delivery;
        let Some((peer, up)) = self.find((worker, epoch)) else {
            // Its loss is still on its way to the dispatcher.
            return port.returned(delivery);
        };
        up.told = up.received;
        let instance = up.instance;
        let mut header = attempt_header(Kind::Task, (worker, epoch), handle, attempt);
        header.ack = up.received;
        if delivery.ahead {
            header.flags = header.flags.with(Flags::AHEAD);
        }
        let mut head = Head::new(&header);
        if let Some(origin) = delivery.origin {
            head = head.origin(&self.tickets.issue(instance, origin));
        }
        let payload = Some(delivery.payload.share());
        if out.send(Side::Worker, peer, &mut head, payload).is_err() {
            stats.unsent += 1;
            port.returned(delivery);
            // A worker that cannot be reached, or takes no more although what it has out is
            // bounded, is of no use. Its loss needs no room.
            self.end_unsendable(peer, port, out);
        }
    }

    // ---- inside ----

    /// Asks a stranger to register, once.
    fn ask<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let Some(entry) = self.peers.enter(turn.peer) else {
            turn.stats.peers_full += 1;
            return turn.reject(Rejection::PeersFull, 0);
        };
        if !entry.asked {
            entry.asked = turn.who_are_you();
        }
    }

    fn tell<P: Payload>(up: &mut Up, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        if up.received.wrapping_sub(up.told) >= UNTOLD_MAX {
            up.told = up.received;
            let mut header = Header::new(Kind::Ack);
            header.flags = Flags::HAS_WORKER;
            header.ack = up.received;
            header.worker = up.incarnation.0.0;
            header.epoch = up.incarnation.1.0;
            let _counted = turn.answer(Head::new(&header));
        }
    }

    /// Whether the place that a report names was last held by a process that is not its sender.
    fn is_foreign(&self, report: &Report, is_other: impl FnOnce(u64) -> bool) -> bool {
        let seat = self.seats.get(report.worker.0 as usize);
        let seat = seat.and_then(Option::as_ref);
        seat.is_some_and(|seat| seat.epoch == report.epoch && is_other(seat.instance))
    }

    /// The endpoint that a registration goes to, if it is not ours: round robin.
    fn redirect(&mut self) -> Option<&str> {
        if self.endpoints.len() < 2 {
            return None;
        }
        let next = self.next_endpoint % self.endpoints.len();
        self.next_endpoint = next + 1;
        (next != self.shard && !self.endpoints[next].is_empty())
            .then(|| self.endpoints[next].as_str())
    }

    /// Grows at most to the number of workers that the dispatcher admits.
    fn take_seat(
        &mut self,
        incarnation: Incarnation,
        instance: u64,
        peer: PeerKey,
        name: Box<str>,
    ) {
        let index = incarnation.0.0 as usize;
        if self.seats.len() <= index {
            self.seats.resize(index + 1, None);
        }
        self.seats[index] = Some(Seat {
            epoch: incarnation.1,
            instance,
            peer: Some(peer),
            name,
            reason: "",
        });
    }

    fn find(&mut self, incarnation: Incarnation) -> Option<(PeerKey, &mut Up)> {
        let seat = self.seats.get(incarnation.0.0 as usize)?.as_ref()?;
        let peer = seat.peer.filter(|_| seat.epoch == incarnation.1)?;
        let up = self.peers.get_mut(peer)?.up.as_mut()?;
        (up.incarnation == incarnation).then_some((peer, up))
    }

    /// Ends what a peer holds or has asked for; the peer itself stays known. What it held is to be
    /// reported down.
    #[must_use]
    fn end_registration(&mut self, peer: PeerKey, reason: &'static str) -> Option<Incarnation> {
        let entry = self.peers.get_mut(peer)?;
        if let Some(token) = entry.awaiting.take()
            && let Some(awaited) = self.awaited.get_mut(&token.0)
        {
            awaited.peer = None;
        }
        let (worker, epoch) = entry.up.take()?.incarnation;
        if let Some(Some(seat)) = self.seats.get_mut(worker.0 as usize)
            && seat.epoch == epoch
        {
            seat.peer = None;
            seat.reason = reason;
            self.logs.push(WorkerLog::Gone {
                worker,
                epoch,
                name: seat.name.clone(),
                reason,
            });
        }
        Some((worker, epoch))
    }

    fn end_unsendable<P: Payload>(
        &mut self,
        peer: PeerKey,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
    ) {
        self.handle_gone(peer, self.loss, "it takes no more messages", port);
        out.close(Side::Worker, peer);
    }
}

/// The labels that a registration brings, inline or in one frame.
fn labels_of<'a, P: Payload>(
    message: &Message<'a>,
    payload: Result<&'a Option<P>, &Refusal>,
) -> Result<ArrayVec<&'a str, LABELS_MAX>, WireError> {
    match payload {
        Ok(None) => read_labels(message.body),
        Ok(Some(payload)) if payload.frame_count() == 1 => {
            read_labels(payload.frame(0).unwrap_or_default())
        }
        _ => Err(WireError::Labels),
    }
}

fn report_down<P: Payload>(ended: Option<Incarnation>, loss: Loss, port: &mut Port<P>) {
    if let Some((worker, epoch)) = ended {
        port.worker_down(worker, epoch, loss);
    }
}

fn attempt_header(
    kind: Kind,
    (worker, epoch): Incarnation,
    handle: TaskHandle,
    attempt: Attempt,
) -> Header {
    let mut header = Header::new(kind);
    header.flags = Flags::HAS_WORKER;
    header.worker = worker.0;
    header.epoch = epoch.0;
    header.id = handle.to_bits();
    header.attempt = attempt.0;
    header
}

/// The report of a result or a hand-in. A verdict that nobody knows, or a payload that cannot be
/// taken, makes it a failure without one: the attempt has ended, and its task must not wait for a
/// better report.
fn read_report<P: Payload>(
    message: &Message<'_>,
    payload: Result<Option<P>, Refusal>,
    turn: &mut Turn<'_, P, impl Outbox<P>>,
) -> (Report, Option<P>) {
    let Header {
        worker,
        epoch,
        id,
        attempt,
        code,
        ..
    } = message.header;
    let (verdict, payload) = match (verdict_from_code(code), payload) {
        (Some(verdict), Ok(payload)) => (verdict, payload),
        (Some(_), Err(_)) => {
            turn.stats.payload_refused += 1;
            (Verdict::Failed, None)
        }
        (None, _) => {
            turn.stats.malformed += 1;
            turn.reject(Rejection::Malformed, 0);
            (Verdict::Failed, None)
        }
    };
    let report = Report {
        worker: WorkerId(worker),
        epoch: Epoch(epoch),
        handle: TaskHandle::from_bits(id),
        attempt: Attempt(attempt),
        verdict,
    };
    (report, payload)
}
