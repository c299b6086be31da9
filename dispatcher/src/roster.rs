//! The workers of one port: who has a free slot, who has mail, who is least busy.
//!
//! Everything is O(1). Workers with a free slot stand in a queue per number of free slots, the one
//! that has been so the longest first; a bit per queue finds the fullest. So the least busy worker
//! is the head of the highest queue that is not empty. Those that have no free slot, but take tasks
//! ahead of one, stand in the lowest: they come last.

use std::collections::VecDeque;

use taskyard_core::{Attempt, AttemptAt, Envelope, Epoch, TaskHandle, WorkerId, WorkerSlots};

use crate::ring::Consumer;

/// End of a list.
const NIL: u32 = u32::MAX;
/// Workers with nearly this many free slots or more share a queue.
const LEVELS: usize = 64;
/// The queue of workers without a free slot that take tasks ahead of one.
const AHEAD: usize = 1;

/// One worker's place.
#[derive(Debug)]
struct Place {
    epoch: Epoch,
    /// Takes tasks. Not from its loss on; the place stays until its mailbox is handed back.
    up: bool,
    /// Takes nothing for the time being.
    paused: bool,
    slots: WorkerSlots,
    /// What it was given and has not reported: at most as many entries as it has slots and prefetch
    /// places, allocated at registration.
    out: Vec<Out>,
    /// How many of them were sent ahead and are not known to have started.
    ahead: u16,
    mailbox: Consumer<Envelope>,
    /// The mailbox may have something.
    mail: bool,
    /// Stands in `with_mail`.
    queued: bool,
    /// Links of the queue of its level; meaningful while `level` > 0.
    previous: u32,
    next: u32,
    /// The queue it stands in: above `AHEAD` by its free slots, at most `LEVELS - 1`; 0 stands in
    /// none.
    level: u8,
}

impl Place {
    /// Its queue.
    fn level_now(&self) -> usize {
        if !self.up || self.paused {
            return 0;
        }
        let taken = usize::from(self.slots.busy) + self.out.len();
        let free = usize::from(self.slots.slots).saturating_sub(taken);
        if free > 0 {
            return (AHEAD + free).min(LEVELS - 1);
        }
        let places = usize::from(self.slots.slots) + usize::from(self.slots.prefetch);
        if taken < places { AHEAD } else { 0 }
    }

    fn find(&self, handle: TaskHandle, attempt: Attempt) -> Option<usize> {
        let mut out = self.out.iter();
        out.position(|out| (out.handle, out.attempt) == (handle, attempt))
    }

    /// Whether it takes one more task.
    fn takes_more(&self) -> bool {
        self.level_now() > 0
    }
}

/// An attempt that a worker was given and has not reported.
#[derive(Clone, Copy, Debug)]
struct Out {
    handle: TaskHandle,
    attempt: Attempt,
    /// It was sent ahead, and is not known to have started.
    is_ahead: bool,
    /// Pieces of its output that were dropped since the last one that went through.
    missed: u16,
}

/// This incarnation does not have the attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotOut;

#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
}

/// The workers of one port.
#[derive(Debug)]
pub(crate) struct Roster {
    places: Vec<Option<Place>>,
    levels: [Queue; LEVELS],
    /// Bit `n`: queue `n` is not empty.
    occupied: u64,
    /// Workers with mail and room for a task, once each.
    with_mail: VecDeque<WorkerId>,
}

impl Roster {
    pub(crate) const fn new() -> Self {
        Self {
            places: Vec::new(),
            levels: [Queue {
                head: NIL,
                tail: NIL,
            }; LEVELS],
            occupied: 0,
            with_mail: VecDeque::new(),
        }
    }

    /// Adds a worker; allocates, which a registration may.
    pub(crate) fn join(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        slots: WorkerSlots,
        mailbox: Consumer<Envelope>,
    ) {
        let index = worker.0 as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
            self.with_mail.reserve(self.places.len());
        }
        debug_assert!(
            self.places[index].is_none(),
            "{worker:?} has a place already"
        );
        self.places[index] = Some(Place {
            epoch,
            up: true,
            paused: false,
            slots,
            out: Vec::with_capacity(usize::from(slots.slots) + usize::from(slots.prefetch)),
            ahead: 0,
            mailbox,
            // It may have been filled before the registration's answer was read.
            mail: true,
            queued: false,
            previous: NIL,
            next: NIL,
            level: 0,
        });
        self.settle(worker);
    }

    /// Marks a worker as lost: it takes nothing more. False if it is not up in this incarnation.
    pub(crate) fn lose(&mut self, worker: WorkerId, epoch: Epoch) -> bool {
        let Some(place) = self.up(worker, epoch) else {
            return false;
        };
        place.up = false;
        self.settle(worker);
        true
    }

    /// Takes nothing more for a worker, or takes again. False if it is not up in this incarnation.
    pub(crate) fn pause(&mut self, worker: WorkerId, epoch: Epoch, paused: bool) -> bool {
        let Some(place) = self.up(worker, epoch) else {
            return false;
        };
        place.paused = paused;
        self.settle(worker);
        true
    }

    /// Gives the place up and hands the mailbox back.
    pub(crate) fn leave(&mut self, worker: WorkerId, epoch: Epoch) -> Option<Consumer<Envelope>> {
        self.lose(worker, epoch);
        let place = self.places.get_mut(worker.0 as usize)?;
        if place.as_ref()?.epoch != epoch {
            return None;
        }
        self.with_mail.retain(|other| *other != worker);
        place.take().map(|place| place.mailbox)
    }

    /// Takes note that a mailbox has something.
    pub(crate) fn mail(&mut self, worker: WorkerId) {
        if let Some(Some(place)) = self.places.get_mut(worker.0 as usize) {
            place.mail = true;
            self.queue_mail(worker);
        }
    }

    /// A worker that takes one more task and may have mail; it stands in line until its mail is
    /// read.
    pub(crate) fn next_mail(&mut self) -> Option<(WorkerId, Epoch, &mut Consumer<Envelope>)> {
        while let Some(&worker) = self.with_mail.front() {
            let place = self
                .places
                .get_mut(worker.0 as usize)
                .and_then(Option::as_mut);
            let ready = place.is_some_and(|place| place.mail && place.takes_more());
            if ready {
                break;
            }
            self.with_mail.pop_front();
            self.unqueue(worker);
        }
        let worker = *self.with_mail.front()?;
        let place = self.places[worker.0 as usize].as_mut()?;
        Some((worker, place.epoch, &mut place.mailbox))
    }

    /// Takes note that the worker first in line had no mail left.
    pub(crate) fn mail_read(&mut self) {
        if let Some(worker) = self.with_mail.pop_front()
            && let Some(Some(place)) = self.places.get_mut(worker.0 as usize)
        {
            place.mail = false;
            place.queued = false;
        }
    }

    /// The worker with the most free slots, the longest so among equals.
    pub(crate) fn least_busy(&self) -> Option<(WorkerId, Epoch)> {
        let level = self.occupied.checked_ilog2()? as usize;
        let index = self.levels[level].head;
        let place = self.places[index as usize].as_ref()?;
        Some((WorkerId(index), place.epoch))
    }

    /// Whether any worker takes one more task.
    pub(crate) const fn takes_more(&self) -> bool {
        self.occupied != 0
    }

    /// Takes a slot for an attempt, or a prefetch place if there is no free slot. Whether it is
    /// sent ahead: then, or if others were that have not started, behind which it waits.
    pub(crate) fn occupy(
        &mut self,
        worker: WorkerId,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        let Some(Some(place)) = self.places.get_mut(worker.0 as usize) else {
            return false;
        };
        let level = place.level_now();
        debug_assert!(level > 0, "{worker:?} takes nothing more");
        let is_ahead = level == AHEAD || place.ahead > 0;
        place.ahead += u16::from(is_ahead);
        place.out.push(Out {
            handle,
            attempt,
            is_ahead,
            missed: 0,
        });
        self.settle(worker);
        is_ahead
    }

    /// Takes note that an attempt has started that was sent ahead. False if it was not, or if that
    /// is known.
    pub(crate) fn start(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        let Some(place) = self.up(worker, epoch) else {
            return false;
        };
        let Some(at) = place.find(handle, attempt) else {
            return false;
        };
        let was_ahead = std::mem::take(&mut place.out[at].is_ahead);
        place.ahead -= u16::from(was_ahead);
        was_ahead
    }

    /// Whether this incarnation was given this attempt and has not reported it.
    pub(crate) fn is_out(
        &self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        let place = self.places.get(worker.0 as usize).and_then(Option::as_ref);
        place.is_some_and(|place| {
            place.up && place.epoch == epoch && place.find(handle, attempt).is_some()
        })
    }

    /// The number of dropped pieces of an attempt's output. Of one of another incarnation nothing
    /// is known here; `Err` if this one is not out.
    pub(crate) fn missed_of(&mut self, at: &AttemptAt) -> Result<Option<&mut u16>, NotOut> {
        let Some(place) = self.up(at.worker, at.epoch) else {
            return Ok(None);
        };
        let found = place.find(at.handle, at.attempt).ok_or(NotOut)?;
        Ok(Some(&mut place.out[found].missed))
    }

    /// Takes an attempt back that was sent ahead. False if it was not, or is known to have started.
    pub(crate) fn give_back(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> bool {
        self.start(worker, epoch, handle, attempt)
            && self.vacate(worker, epoch, handle, attempt).is_some()
    }

    /// Frees the slot of an attempt that this incarnation was given, and says how many pieces of
    /// its output were dropped last. `None` if it was not.
    pub(crate) fn vacate(
        &mut self,
        worker: WorkerId,
        epoch: Epoch,
        handle: TaskHandle,
        attempt: Attempt,
    ) -> Option<u16> {
        let place = self.up(worker, epoch)?;
        let at = place.find(handle, attempt)?;
        let out = place.out.swap_remove(at);
        place.ahead -= u16::from(out.is_ahead);
        self.settle(worker);
        Some(out.missed)
    }

    /// Frees a slot that an earlier incarnation's attempt had taken. False if none was.
    pub(crate) fn vacate_busy(&mut self, worker: WorkerId, epoch: Epoch) -> bool {
        let Some(place) = self.up(worker, epoch) else {
            return false;
        };
        if place.slots.busy == 0 {
            return false;
        }
        place.slots.busy -= 1;
        self.settle(worker);
        true
    }

    fn up(&mut self, worker: WorkerId, epoch: Epoch) -> Option<&mut Place> {
        let place = self.places.get_mut(worker.0 as usize)?.as_mut()?;
        (place.up && place.epoch == epoch).then_some(place)
    }

    /// Puts a worker at the end of the queue that its free slots ask for.
    fn settle(&mut self, worker: WorkerId) {
        let index = worker.0;
        let Some(Some(place)) = self.places.get(index as usize) else {
            return;
        };
        let level = place.level_now();
        if level != usize::from(place.level) {
            self.unlink(index);
            self.link(index, level);
        }
        self.queue_mail(worker);
    }

    fn queue_mail(&mut self, worker: WorkerId) {
        if let Some(Some(place)) = self.places.get_mut(worker.0 as usize)
            && place.mail
            && !place.queued
            && place.takes_more()
        {
            place.queued = true;
            self.with_mail.push_back(worker);
        }
    }

    fn unqueue(&mut self, worker: WorkerId) {
        if let Some(Some(place)) = self.places.get_mut(worker.0 as usize) {
            place.queued = false;
        }
    }

    fn link(&mut self, index: u32, level: usize) {
        let tail = self.levels[level].tail;
        let Some(Some(place)) = self.places.get_mut(index as usize) else {
            return;
        };
        place.level = level as u8;
        if level == 0 {
            return;
        }
        place.previous = tail;
        place.next = NIL;
        self.levels[level].tail = index;
        match self.places.get_mut(tail as usize) {
            Some(Some(last)) => last.next = index,
            _ => self.levels[level].head = index,
        }
        self.occupied |= 1 << level;
    }

    fn unlink(&mut self, index: u32) {
        let Some(Some(place)) = self.places.get(index as usize) else {
            return;
        };
        let (level, previous, next) = (usize::from(place.level), place.previous, place.next);
        if level == 0 {
            return;
        }
        match self.places.get_mut(previous as usize) {
            Some(Some(before)) => before.next = next,
            _ => self.levels[level].head = next,
        }
        match self.places.get_mut(next as usize) {
            Some(Some(after)) => after.previous = previous,
            _ => self.levels[level].tail = previous,
        }
        if self.levels[level].head == NIL {
            self.occupied &= !(1 << level);
        }
    }
}

#[cfg(test)]
mod tests {
    use taskyard_core::{Attempt, Envelope, Epoch, Stamp, TaskHandle, WorkerId, WorkerSlots};

    use super::Roster;
    use crate::ring::{Producer, ring};

    const FIRST: Attempt = Attempt(1);

    fn handle(n: u32) -> TaskHandle {
        TaskHandle::new(n, 0)
    }

    fn join(roster: &mut Roster, index: u32, slots: u16) -> Producer<Envelope> {
        let (producer, mailbox) = ring(4);
        let slots = WorkerSlots {
            slots,
            ..WorkerSlots::default()
        };
        roster.join(WorkerId(index), Epoch(1), slots, mailbox);
        producer
    }

    fn picked(roster: &Roster) -> Option<u32> {
        roster.least_busy().map(|(worker, _)| worker.0)
    }

    #[test]
    fn the_longest_idle_comes_first_and_the_busy_never() {
        let mut roster = Roster::new();
        let _mail: Vec<_> = (0..3).map(|index| join(&mut roster, index, 1)).collect();
        for n in 0..3 {
            assert_eq!(picked(&roster), Some(n));
            roster.occupy(WorkerId(n), handle(n), FIRST);
        }
        assert_eq!(picked(&roster), None);
        assert!(
            roster
                .vacate(WorkerId(1), Epoch(1), handle(1), FIRST)
                .is_some()
        );
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(0), FIRST)
                .is_some()
        );
        assert_eq!(picked(&roster), Some(1));
    }

    #[test]
    fn more_free_slots_come_before_fewer() {
        let mut roster = Roster::new();
        let _mail = [
            join(&mut roster, 0, 1),
            join(&mut roster, 1, 3),
            join(&mut roster, 2, 200),
        ];
        assert_eq!(picked(&roster), Some(2));
        roster.lose(WorkerId(2), Epoch(1));
        assert_eq!(picked(&roster), Some(1));
    }

    #[test]
    fn a_paused_worker_takes_nothing_and_keeps_what_it_has() {
        let mut roster = Roster::new();
        let _mail = join(&mut roster, 0, 2);
        roster.occupy(WorkerId(0), handle(7), FIRST);
        assert!(!roster.pause(WorkerId(0), Epoch(2), true), "another one");
        assert!(roster.pause(WorkerId(0), Epoch(1), true));
        assert!(!roster.takes_more());
        assert!(roster.next_mail().is_none());
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(7), FIRST)
                .is_some()
        );
        assert!(!roster.takes_more());
        assert!(roster.pause(WorkerId(0), Epoch(1), false));
        assert_eq!(picked(&roster), Some(0));
        assert!(roster.next_mail().is_some());
    }

    #[test]
    fn an_attempt_is_reported_once() {
        let mut roster = Roster::new();
        let _mail = join(&mut roster, 0, 2);
        roster.occupy(WorkerId(0), handle(7), FIRST);
        assert!(roster.is_out(WorkerId(0), Epoch(1), handle(7), FIRST));
        assert!(!roster.is_out(WorkerId(0), Epoch(2), handle(7), FIRST));
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(2), handle(7), FIRST)
                .is_none(),
            "other incarnation"
        );
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(7), Attempt(2))
                .is_none(),
            "other attempt"
        );
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(7), FIRST)
                .is_some()
        );
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(7), FIRST)
                .is_none(),
            "twice"
        );
        assert!(!roster.is_out(WorkerId(0), Epoch(1), handle(7), FIRST));
        assert!(
            roster
                .vacate(WorkerId(9), Epoch(1), handle(7), FIRST)
                .is_none(),
            "unknown worker"
        );
    }

    #[test]
    fn mail_waits_for_a_free_slot() {
        let mut roster = Roster::new();
        let mut mail = join(&mut roster, 0, 1);
        let (_, _, mailbox) = roster.next_mail().expect("a new worker may have mail");
        assert!(mailbox.pop().is_none());
        roster.mail_read();
        assert!(roster.next_mail().is_none());

        let envelope = Envelope {
            origin: None,
            handle: handle(1),
            stamp: Stamp(1),
            attempt: FIRST,
        };
        roster.occupy(WorkerId(0), handle(0), FIRST);
        assert!(mail.push(envelope).is_ok());
        roster.mail(WorkerId(0));
        assert!(roster.next_mail().is_none(), "busy");
        roster.vacate(WorkerId(0), Epoch(1), handle(0), FIRST);
        let (_, _, mailbox) = roster.next_mail().expect("mail and a free slot");
        assert_eq!(mailbox.pop(), Some(envelope));
    }

    #[test]
    fn tasks_go_ahead_of_a_slot_only_when_nobody_has_a_free_one() {
        let mut roster = Roster::new();
        let slots = WorkerSlots {
            slots: 1,
            prefetch: 1,
            busy: 0,
        };
        let (_producer, mailbox) = ring(4);
        roster.join(WorkerId(0), Epoch(1), slots, mailbox);
        let _mail = join(&mut roster, 1, 1);
        assert!(!roster.occupy(WorkerId(0), handle(0), FIRST));
        assert_eq!(picked(&roster), Some(1));
        assert!(!roster.occupy(WorkerId(1), handle(1), FIRST));
        assert_eq!(picked(&roster), Some(0));
        assert!(roster.occupy(WorkerId(0), handle(2), FIRST), "ahead");
        assert_eq!(picked(&roster), None);
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(0), FIRST)
                .is_some()
        );
        assert!(roster.occupy(WorkerId(0), handle(3), FIRST), "ahead again");
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(3), FIRST)
                .is_some()
        );
        assert!(roster.start(WorkerId(0), Epoch(1), handle(2), FIRST));
        assert!(
            !roster.start(WorkerId(0), Epoch(1), handle(2), FIRST),
            "twice"
        );
        assert!(
            roster
                .vacate(WorkerId(0), Epoch(1), handle(2), FIRST)
                .is_some()
        );
        assert!(
            !roster.occupy(WorkerId(0), handle(4), FIRST),
            "a slot is free"
        );
    }

    #[test]
    fn slots_of_earlier_incarnations_are_not_given_out() {
        let mut roster = Roster::new();
        let (_producer, mailbox) = ring(4);
        let slots = WorkerSlots {
            slots: 1,
            prefetch: 0,
            busy: 1,
        };
        roster.join(WorkerId(0), Epoch(5), slots, mailbox);
        assert!(!roster.takes_more());
        assert!(roster.vacate_busy(WorkerId(0), Epoch(5)));
        assert!(!roster.vacate_busy(WorkerId(0), Epoch(5)));
        assert!(roster.takes_more());
        assert!(roster.leave(WorkerId(0), Epoch(5)).is_some());
        assert!(!roster.takes_more());
        assert!(roster.leave(WorkerId(0), Epoch(5)).is_none());
    }
}
