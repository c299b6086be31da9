//! What a transport or an in-process peer is handed when it attaches: its ends of the rings.
//!
//! A port belongs to one thread. Everything in it is a plain field or one end of a ring, so that
//! thread never waits for the dispatcher and the dispatcher never waits for it. Clients and workers
//! of a port are told apart by their ids only; one port may have thousands of both.
//!
//! The rhythm of a port's owner:
//! ```text
//! loop {
//!     while port.has_room(ROOM) { read one message from outside; port.send(..) }    // in
//!     port.flush();
//!     while let Some(reply) = port.poll_reply() { .. }                              // out
//!     while let Some(delivery) = port.poll_delivery() { .. }
//!     if nothing happened and port.prepare_sleep() { sleep until unparked; port.woke() }
//! }
//! ```
//!
//! # The end of a port
//!
//! | port, when it is dropped | dispatcher |
//! | --- | --- |
//! | G1 close both rings (Release, see `ring.rs`), leave the sleepers, hand a wake-up on | D1 answer the bell |
//! | G2 ring the dispatcher's bell a last time | D2 drain the events; only then look whether the ring is closed |
//! | | D3 closed: report its peers down, free the rings |
//!
//! **The race to avoid:** an event that is in the ring when the dispatcher takes the port for gone,
//! or a port that goes and is never heard of. **Why it cannot be:** a ring is closed for its
//! consumer only when it is empty after the flag was seen, and events come before G1 in the port's
//! own order. G2 comes after G1, so the bell that D1 answers last finds the flag: if D1 came before
//! G2, the bell is there for next time. What a port was sent and has not read goes with the ring.

use std::fmt;
use std::sync::Arc;

use taskyard_core::{
    Attempt, AttemptAt, Envelope, Epoch, LabelKey, Loss, NameKey, Origin, PortId, Printed, Report,
    Source, TaskHandle, WorkerId, WorkerSlots,
};

use crate::doorbell::{Bell, Listener};
use crate::envelope::{Event, Reply};
use crate::names::NameHasher;
use crate::parker::Unpark;
use crate::payload::{Payload, TaskClaimant, payload_len};
use crate::pool::Stealer;
use crate::ring::{Consumer, Producer};
use crate::room::RoomFlag;
use crate::roster::Roster;
use crate::sleepers::{Sleeper, Sleepers};
use crate::spare_room::{SpareBytes, spare_room};

/// The bit of the reply ring in a port's bell; worker `n` has bit `n + 1`.
pub(crate) const REPLIES: u32 = 0;

/// A claimed task on its way to a worker of this port; it counts as started unless it is
/// [`returned`](Port::returned).
#[derive(Debug)]
pub struct Delivery<P> {
    /// For whom; the slot is taken.
    pub worker: WorkerId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The task.
    pub handle: TaskHandle,
    /// Which execution of it.
    pub attempt: Attempt,
    /// It has no slot yet, or waits behind one that has none: the worker says when it has
    /// [`started`](Port::started), and may be asked to give it back.
    pub ahead: bool,
    /// Where the task comes from.
    pub origin: Option<Origin>,
    /// A share of the payload.
    pub payload: P,
}

/// What became of a piece of output; see [`Port::output`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum OutputFate {
    /// It is on its way to the dispatcher.
    Sent,
    /// There was no room to spare for it.
    Dropped,
    /// The attempt is not out.
    Stale,
}

/// One side of an attachment to the dispatcher; see the top of `port.rs` for its owner's rhythm.
pub struct Port<P: Payload> {
    pub(crate) id: PortId,
    pub(crate) names: NameHasher,
    pub(crate) events: Producer<Event<P>>,
    pub(crate) replies: Consumer<Reply<P>>,
    pub(crate) state: PortState,
    /// After the rings and the place among the thieves: fields are dropped in this order, and the
    /// last ring of the bell tells the dispatcher of rings that are closed by then, and of a place
    /// that is free.
    pub(crate) dispatcher: DispatcherBell,
    /// The dispatcher waits for room in the reply ring.
    pub(crate) reply_room: Arc<RoomFlag>,
    /// We wait for room in the event ring.
    pub(crate) event_room: Arc<RoomFlag>,
    /// Output that waits in either ring.
    pub(crate) output_events: SpareBytes,
    pub(crate) output_replies: SpareBytes,
    pub(crate) bells: Listener,
    pub(crate) tasks: TaskClaimant<P>,
    pub(crate) pool: Stealer<Envelope>,
    pub(crate) sleepers: Sleepers,
    pub(crate) unpark: Arc<dyn Unpark>,
}

/// This port's bit of the dispatcher's bell; rung a last time when the port is dropped.
#[derive(Debug)]
pub(crate) struct DispatcherBell {
    pub(crate) bell: Bell,
    pub(crate) port: PortId,
}

impl DispatcherBell {
    fn ring(&self) {
        self.bell.ring(u32::from(self.port.0));
    }
}

impl Drop for DispatcherBell {
    fn drop(&mut self) {
        self.ring();
    }
}

/// What is nobody else's business.
#[derive(Debug)]
pub(crate) struct PortState {
    roster: Roster,
    /// Our place among the thieves, once we have a worker.
    sleeper: Option<Sleeper>,
    /// Announced on the pool, and not yet retracted.
    on_pool: bool,
    /// Woken for the pool: if we leave something in it, wake one more.
    woken: bool,
    /// Events were sent since the last flush.
    unflushed: bool,
    /// Replies were popped since the dispatcher was last answered.
    popped: bool,
    /// Something had to wait for room in the event ring.
    starved: bool,
    /// Lost workers whose loss could not be passed on yet, for want of room.
    lost: Vec<(WorkerId, Epoch, Loss)>,
    /// Paused workers of which that could not be said yet, for want of room.
    paused: Vec<(WorkerId, Epoch)>,
    /// Retired workers whose mailbox could not be handed back yet, for want of room.
    retired: Vec<(WorkerId, Epoch)>,
}

impl PortState {
    pub(crate) const fn new() -> Self {
        Self {
            roster: Roster::new(),
            sleeper: None,
            on_pool: false,
            woken: false,
            unflushed: false,
            popped: false,
            starved: false,
            lost: Vec::new(),
            paused: Vec::new(),
            retired: Vec::new(),
        }
    }
}

impl PortState {
    fn has_departures(&self) -> bool {
        !self.lost.is_empty() || !self.paused.is_empty() || !self.retired.is_empty()
    }

    /// Hands a wake-up on: what this thread was woken for may still be there.
    fn wake_one_more(&mut self) {
        self.woken = false;
        if let Some(sleeper) = &self.sleeper {
            sleeper.wake_one_more();
        }
    }
}

impl Drop for PortState {
    fn drop(&mut self) {
        if self.woken {
            self.wake_one_more();
        }
    }
}

impl<P: Payload> Port<P> {
    /// Events that [`poll_delivery`](Self::poll_delivery) keeps room for: a claim, and its report.
    const DELIVERY_ROOM: usize = 2;

    /// Which attachment this is.
    #[must_use]
    pub const fn id(&self) -> PortId {
        self.id
    }

    /// The key by which the core knows a worker's name.
    #[must_use]
    pub fn name_key(&self, name: &str) -> NameKey {
        self.names.key(name)
    }

    /// The key by which the core knows a label.
    #[must_use]
    pub fn label_key(&self, label: &str) -> LabelKey {
        self.names.label_key(label)
    }

    /// Whether so many events may be sent now. The room is there until they are sent, or until the
    /// next [`flush`](Self::flush), [`poll_delivery`](Self::poll_delivery) or
    /// [`prepare_sleep`](Self::prepare_sleep), which may fill it.
    pub fn has_room(&mut self, events: usize) -> bool {
        let room = self.events.has_room(events);
        self.state.starved |= !room;
        room
    }

    /// Sends an event, which the dispatcher sees at the latest after the next
    /// [`flush`](Self::flush).
    ///
    /// # Panics
    /// Without room: ask [`has_room`](Self::has_room) before taking on anything that causes an
    /// event.
    pub fn send(&mut self, event: Event<P>) {
        self.state.unflushed = true;
        assert!(
            self.events.push(event).is_ok(),
            "an event was sent without asking for room"
        );
    }

    /// Reports a worker as gone: it gets nothing more. A stale report is ignored. Needs no room,
    /// and takes none away: the loss takes effect here at once, and is passed on with the next
    /// [`flush`](Self::flush) that finds room (rule R15).
    pub fn worker_down(&mut self, worker: WorkerId, epoch: Epoch, loss: Loss) {
        if self.state.roster.lose(worker, epoch) {
            self.state.lost.push((worker, epoch, loss));
        }
    }

    /// Passes on a worker's report on an attempt that its present incarnation was given, and frees
    /// the slot; before it, if there is room for two events, that output of it is missing. False,
    /// and nothing happens, when it was not given that attempt or has reported it before.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[must_use]
    pub fn reported(&mut self, report: Report, payload: Option<P>) -> bool {
        let Report {
            worker,
            epoch,
            handle,
            attempt,
            ..
        } = report;
        let Some(missed) = self.state.roster.vacate(worker, epoch, handle, attempt) else {
            return false;
        };
        if missed > 0 && self.events.has_room(2) {
            let attempt = AttemptAt {
                worker,
                epoch,
                handle,
                attempt,
            };
            self.send(Event::OutputMissed { attempt, missed });
        }
        self.send(Event::Reported { report, payload });
        true
    }

    /// Whether this incarnation was given this attempt and has not reported it.
    pub(crate) fn is_out(
        &self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        self.state.roster.is_out(worker, epoch, handle, attempt)
    }

    /// Gives a delivery back that could not be sent: it never started.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn returned(&mut self, delivery: &Delivery<P>) {
        let Delivery {
            worker,
            epoch,
            handle,
            attempt,
            ..
        } = *delivery;
        self.state.roster.vacate(worker, epoch, handle, attempt);
        self.send(Event::Returned {
            handle,
            attempt,
            worker,
            epoch,
        });
    }

    /// Passes on that a worker has started a task that it was sent ahead. False, and nothing
    /// happens, when it was not, or has said so or reported it before.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[must_use]
    pub fn started(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        let known = self.state.roster.start(worker, epoch, handle, attempt);
        if known {
            self.send(Event::Started {
                handle,
                attempt,
                worker,
                epoch,
            });
        }
        known
    }

    /// Passes on that a worker gives a task back that it was sent ahead, most often because it was
    /// asked to ([`Reply::Recall`]): it never started. False as for [`started`](Self::started).
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[must_use]
    pub fn given_back(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        let vacated = self.state.roster.give_back(worker, epoch, handle, attempt);
        if vacated {
            self.send(Event::GivenBack {
                handle,
                attempt,
                worker,
                epoch,
            });
        }
        vacated
    }

    /// Passes on what an attempt has printed, if it was given to this worker's present incarnation
    /// (or to an earlier one, which the dispatcher judges by the process `instance`) and has not
    /// been reported, and if the event ring has room to spare. Otherwise it is dropped, and the
    /// next piece of that attempt says so.
    ///
    /// It is one event, for which there may be no room: [`has_room`](Self::has_room) need not be
    /// asked.
    pub fn output(
        &mut self,
        instance: u64,
        attempt: AttemptAt,
        mut printed: Printed,
        payload: P,
    ) -> OutputFate {
        let Ok(missed) = self.state.roster.missed_of(&attempt) else {
            return OutputFate::Stale;
        };
        let bytes = payload_len(&payload);
        let places = spare_room(self.events.capacity());
        if !self.output_events.has_room(bytes) || !self.events.has_room(places) {
            if let Some(missed) = missed {
                *missed = missed.saturating_add(1);
            }
            return OutputFate::Dropped;
        }
        printed.missed = missed.map_or(0, std::mem::take);
        self.output_events.add(bytes);
        self.send(Event::Output {
            instance,
            attempt,
            printed,
            payload,
        });
        OutputFate::Sent
    }

    /// Frees a slot that an attempt of an earlier incarnation had taken (rule R5).
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn slot_freed(&mut self, worker: WorkerId, epoch: Epoch) {
        if self.state.roster.vacate_busy(worker, epoch) {
            self.send(Event::SlotFreed { worker, epoch });
        }
    }

    /// The next thing that the dispatcher wants this port to do.
    pub fn poll_reply(&mut self) -> Option<Reply<P>> {
        loop {
            let Some(reply) = self.replies.pop() else {
                self.answer_dispatcher();
                return None;
            };
            self.state.popped = true;
            match reply {
                Reply::Registered {
                    token,
                    worker,
                    epoch,
                    slots,
                    mailbox: Some(mailbox),
                } => {
                    self.admit(worker, epoch, slots, mailbox);
                    let mailbox = None;
                    return Some(Reply::Registered {
                        token,
                        worker,
                        epoch,
                        slots,
                        mailbox,
                    });
                }
                Reply::Pause {
                    worker,
                    epoch,
                    paused,
                } => {
                    if self.state.roster.pause(worker, epoch, paused) && paused {
                        self.state.paused.push((worker, epoch));
                    }
                }
                Reply::Output { reply, payload } => {
                    self.output_replies.take(payload_len(&payload));
                    return Some(Reply::Output { reply, payload });
                }
                retire @ Reply::Retire { worker, epoch, .. } => {
                    self.state.retired.push((worker, epoch));
                    return Some(retire);
                }
                other => return Some(other),
            }
        }
    }

    /// A claimed task for a free slot, or one to be sent ahead: from the mailboxes first, then from
    /// the pool for the least busy worker. None as well when the event ring has no room for what it
    /// may cause.
    pub fn poll_delivery(&mut self) -> Option<Delivery<P>> {
        self.state.starved = false;
        self.collect_bells();
        self.settle_departures();
        let delivery = self.next_delivery();
        self.pass_on();
        delivery
    }

    fn next_delivery(&mut self) -> Option<Delivery<P>> {
        loop {
            if !self.events.has_room(Self::DELIVERY_ROOM) {
                self.state.starved = true;
                return None;
            }
            let taken = match self.take_mail() {
                Taken::Nothing => self.take_pooled(),
                taken => taken,
            };
            match taken {
                Taken::Claimed(delivery) => return Some(delivery),
                Taken::Tombstone => {}
                Taken::Nothing => return None,
            }
        }
    }

    /// Passes on what departures there are, and rings the dispatcher's bell if anything was sent
    /// since the last time.
    pub fn flush(&mut self) {
        self.settle_departures();
        if self.state.unflushed {
            self.state.unflushed = false;
            self.dispatcher.ring();
        }
    }

    /// Announces that this thread is about to sleep, and looks once more. False: there is something
    /// to do, do not sleep. True: sleep until the port's unparker is called, then call
    /// [`woke`](Self::woke).
    ///
    /// The thread sleeps on up to three words at once (its bell, the pool's sleepers, the event
    /// ring's room), so it announces on each before it looks at any again.
    #[must_use]
    pub fn prepare_sleep(&mut self) -> bool {
        self.flush();
        self.answer_dispatcher();
        self.pass_on();
        if !self.bells.announce() {
            return false;
        }
        if self.could_take() {
            self.announce_on_pool();
        }
        if self.state.starved || self.state.has_departures() {
            self.event_room.want();
        }
        let work = self.has_work();
        if work {
            self.woke();
            // Its owner looks again, and says so if there is still too little room.
            self.state.starved = false;
        }
        !work
    }

    /// Takes the announcements back, after a sleep.
    pub fn woke(&mut self) {
        self.bells.retract();
        if self.state.on_pool {
            self.state.on_pool = false;
            self.state.woken |= self.state.sleeper.as_ref().is_some_and(Sleeper::retract);
        }
    }

    fn has_work(&mut self) -> bool {
        let stealable = self.could_take() && !self.pool.is_empty();
        let room = self.events.has_room(Self::DELIVERY_ROOM);
        let held_up = self.state.starved || self.state.has_departures();
        !self.replies.is_empty()
            || (held_up && room)
            || stealable
            || (!self.state.starved && self.state.roster.next_mail().is_some())
    }

    /// Who waits for room in the event ring is woken for that, and would only hand a wake-up on.
    const fn could_take(&self) -> bool {
        self.state.roster.takes_more() && !self.state.starved
    }

    fn admit(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        slots: WorkerSlots,
        mailbox: Consumer<Envelope>,
    ) {
        if self.state.sleeper.is_none() {
            self.state.sleeper = self.sleepers.join(Arc::clone(&self.unpark));
        }
        self.state.roster.join(worker, epoch, slots, mailbox);
    }

    /// After a drain of the reply ring: the dispatcher may have waited for room in it.
    fn answer_dispatcher(&mut self) {
        if self.state.popped {
            self.state.popped = false;
            if self.reply_room.answer() {
                self.dispatcher.ring();
            }
        }
    }

    fn settle_departures(&mut self) {
        while self.state.has_departures() && self.events.has_room(1) {
            if let Some((worker, epoch)) = self.state.paused.pop() {
                // What was taken before was told as it was taken.
                self.send(Event::Paused { worker, epoch });
            } else if let Some((worker, epoch, loss)) = self.state.lost.pop() {
                self.send(Event::WorkerDown {
                    worker,
                    epoch,
                    loss,
                });
            } else if let Some((worker, epoch)) = self.state.retired.pop() {
                self.hand_back_mailbox(worker, epoch);
            }
        }
    }

    /// What is left in a retired worker's mailbox are tombstones: the core has revoked everything.
    fn hand_back_mailbox(&mut self, worker: WorkerId, epoch: Epoch) {
        if let Some(mut mailbox) = self.state.roster.leave(worker, epoch) {
            while mailbox.pop().is_some() {}
            self.send(Event::Drained {
                worker,
                epoch,
                mailbox,
            });
        }
    }

    pub(crate) fn collect_bells(&mut self) {
        while let Some(bit) = self.bells.next() {
            if bit != REPLIES {
                self.state.roster.mail(WorkerId(bit - 1));
            }
        }
    }

    fn take_mail(&mut self) -> Taken<P> {
        loop {
            let Some((worker, epoch, mailbox)) = self.state.roster.next_mail() else {
                return Taken::Nothing;
            };
            let Some(envelope) = mailbox.pop() else {
                self.state.roster.mail_read();
                continue;
            };
            return self.claim(envelope, worker, epoch, Source::Mailbox { worker, epoch });
        }
    }

    fn take_pooled(&mut self) -> Taken<P> {
        let Some((worker, epoch)) = self.state.roster.least_busy() else {
            return Taken::Nothing;
        };
        let Some(envelope) = self.pool.steal() else {
            return Taken::Nothing;
        };
        let taken = self.claim(envelope, worker, epoch, Source::Pool);
        if let Taken::Claimed(Delivery {
            handle,
            attempt,
            ahead,
            ..
        }) = taken
        {
            self.send(if ahead {
                Event::Prefetched {
                    handle,
                    attempt,
                    worker,
                    epoch,
                }
            } else {
                Event::Claimed {
                    handle,
                    attempt,
                    worker,
                    epoch,
                }
            });
        }
        taken
    }

    fn claim(
        &mut self,
        envelope: Envelope,
        worker: WorkerId,
        epoch: Epoch,
        source: Source,
    ) -> Taken<P> {
        let Envelope {
            handle,
            stamp,
            attempt,
            origin,
        } = envelope;
        let Some(payload) = self.tasks.claim(handle.index(), stamp, worker) else {
            self.send(Event::Discarded(source));
            return Taken::Tombstone;
        };
        let ahead = self.state.roster.occupy(worker, handle, attempt);
        Taken::Claimed(Delivery {
            worker,
            epoch,
            handle,
            attempt,
            ahead,
            origin,
            payload,
        })
    }

    /// A woken thief that leaves something in the pool, for whatever reason, wakes one more.
    fn pass_on(&mut self) {
        if std::mem::take(&mut self.state.woken) && !self.pool.is_empty() {
            self.state.wake_one_more();
        }
    }

    fn announce_on_pool(&mut self) {
        if let Some(sleeper) = &self.state.sleeper {
            sleeper.announce();
            self.state.on_pool = true;
        }
    }
}

enum Taken<P> {
    Claimed(Delivery<P>),
    Tombstone,
    Nothing,
}

impl<P: Payload> fmt::Debug for Port<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
