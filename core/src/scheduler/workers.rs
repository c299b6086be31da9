//! Workers: registration, loss, and the way out of a place.

use super::{Scheduler, Step};
use crate::crew::{COMMON, Class, LabelPlaces};
use crate::event::{Loss, Registered, Registration, RegistrationRefusal};
use crate::id::{Epoch, Labels, NameKey, PortId, WorkerId};
use crate::index::Hash;
use crate::list::NIL;
use crate::task::{Home, TaskState, Wish};
use crate::time::Instant;
use crate::window::Window;
use crate::worker::{WorkerRecord, WorkerState};

impl Scheduler {
    /// A worker asks to be admitted. Results that it hands in are to be counted first (rule R2).
    ///
    /// A name that is up is not taken over: its last attachment is evicted, and the newcomer, if it
    /// is a later registration of the same process, is admitted once that has been reported down
    /// (R7).
    pub fn handle_worker_up(
        &mut self,
        now: Instant,
        port: PortId,
        registration: Registration,
    ) -> Registered {
        if !self.has_port(port) {
            return Registered::Refused(RegistrationRefusal::WorkersFull);
        }
        let Some(holder) = self.find_name(registration.name) else {
            return match self.take_place(port, &registration) {
                Ok(place) => {
                    let epoch = self.admit(now, place);
                    Registered::Admitted {
                        worker: WorkerRecord::id(place),
                        epoch,
                    }
                }
                Err(refusal) => Registered::Refused(refusal),
            };
        };
        let record = &self.workers[holder as usize];
        if record.instance != registration.instance {
            return Registered::Refused(RegistrationRefusal::NameTaken);
        }
        let waiting = record.successor;
        let latest = if waiting == NIL {
            record
        } else {
            &self.workers[waiting as usize]
        };
        if registration.number <= latest.number {
            return Registered::Refused(RegistrationRefusal::Stale);
        }
        let place = match self.take_place(port, &registration) {
            Ok(place) => place,
            Err(refusal) => return Registered::Refused(refusal),
        };
        self.workers[place as usize].state = WorkerState::Pending;
        self.workers[holder as usize].successor = place;
        if waiting != NIL {
            self.refuse(waiting, RegistrationRefusal::Stale);
        }
        self.evict(holder);
        Registered::Pending
    }

    /// A worker is gone. What it had is settled over the next polls; a newcomer of its name is
    /// admitted. How it was lost decides how long it is only suspected.
    pub fn handle_worker_down(&mut self, now: Instant, worker: WorkerId, epoch: Epoch, loss: Loss) {
        if !self.is_up(worker, epoch) {
            self.stats.stale_worker += 1;
            return;
        }
        self.seen_at = now;
        let place = worker.0;
        self.losses += 1;
        self.workers_up -= 1;
        self.stats.workers_lost += 1;
        self.forget_name(place);
        let losses = self.losses;
        self.load(place, |record| {
            record.state = WorkerState::Leaving;
            record.loss = losses;
            record.due.evict = false;
            record.due.pause = false;
        });
        let record = &mut self.workers[place as usize];
        let successor = core::mem::replace(&mut record.successor, NIL);
        if record.ready.is_linked() {
            self.ready.remove(&mut self.workers, place);
        }
        if self.workers[place as usize].heirs.is_linked() {
            self.heirs.remove(&mut self.workers, place);
        }
        self.suspect_or_lose(now, place, loss, successor != NIL);
        self.lose_returned(now, place, loss, successor != NIL);
        if successor != NIL {
            // Not open for offers before its port was told.
            self.workers[successor as usize].due.admitted = true;
            self.admit(now, successor);
            self.move_adopted(place, successor);
            self.mark_control(successor);
        }
    }

    /// The mailbox of a retired worker is empty (rule R8).
    pub fn handle_drained(&mut self, _now: Instant, worker: WorkerId, epoch: Epoch) {
        let record = self.workers.get_mut(worker.0 as usize);
        let retired = record.filter(|record| {
            record.epoch == epoch && record.state == WorkerState::Retiring && !record.due.retire
        });
        let Some(record) = retired else {
            self.stats.stale_worker += 1;
            return;
        };
        record.state = WorkerState::Drained;
        // Envelopes that nobody popped are gone with the mailbox.
        self.stats.outstanding_directed -= u64::from(record.window.outstanding());
        record.window = Window::new(0);
        if !record.ghost {
            self.drained.push_back(&mut self.workers, worker.0);
        }
    }

    /// A slot that an attempt of an earlier incarnation had taken is free (rule R5).
    pub fn handle_slot_freed(&mut self, _now: Instant, worker: WorkerId, epoch: Epoch) {
        let known = self.is_up(worker, epoch) && self.workers[worker.0 as usize].busy > 0;
        if known {
            self.load(worker.0, |record| record.busy -= 1);
            self.finish_drain(worker.0);
        } else {
            self.stats.stale_worker += 1;
        }
    }

    /// Settles one task of a lost worker, in the order in which they were handed out or wait; with
    /// none left, tells its port to empty the mailbox.
    pub(super) fn step_leaving(&mut self) -> Step {
        let Some(place) = self.leaving.pop_front(&mut self.workers) else {
            return Step::Idle;
        };
        let record = &mut self.workers[place as usize];
        if record.named == 0 {
            record.state = WorkerState::Retiring;
            record.due.retire = true;
            self.mark_control(place);
            self.settled(place);
            return Step::Silent;
        }
        let running = record.aborts.front().or(record.assigned.front());
        let running = running.or(record.adopted.front());
        let out = running.or(record.offers.front());
        let all_in = record.taken == record.carried_len;
        // Round robin, so that a worker that waits for the answer to a revoke holds no other up.
        self.leaving.push_back(&mut self.workers, place);
        if let Some(index) = out {
            if self.tasks.records[index as usize].state == TaskState::Queued {
                self.revoke(index, Wish::Lose);
            } else if !self.carry(index, place) {
                self.lose(index);
            }
        } else if let Some(index) = self.backlogs.front(Home::worker(place)).filter(|_| all_in) {
            self.settle_directed(index);
        } else if all_in && self.workers[place as usize].carried_len > 0 {
            self.await_carried(place);
        } else {
            return Step::Idle;
        }
        Step::Silent
    }

    /// Frees one place whose mailbox is drained and that no multicast being made may mean.
    pub(super) fn step_drained(&mut self) -> Step {
        let Some(place) = self.drained.front() else {
            return Step::Idle;
        };
        let meant = self.making.front().is_some_and(|whole| {
            // The first is the oldest: what was lost before it was submitted none of them means.
            let losses = self.tasks.records[whole as usize].parts.losses;
            self.workers[place as usize].loss > losses
        });
        if meant {
            return Step::Idle;
        }
        self.drained.remove(&mut self.workers, place);
        if self.next_target == Some(place) {
            self.next_target = self.roster.after(&self.workers, place);
        }
        self.roster.remove(&mut self.workers, place);
        self.free_place(place);
        Step::Silent
    }

    /// Asks a worker's port to close it; once is enough.
    pub(super) fn evict(&mut self, place: u32) {
        let record = &mut self.workers[place as usize];
        if record.is_up() && !record.evicting {
            record.evicting = true;
            record.due.evict = true;
            self.stats.evictions += 1;
            self.reclass(place);
            self.mark_control(place);
        }
    }

    /// The same for the process that has what was given out at a place, wherever it is now.
    pub(super) fn evict_holder(&mut self, place: u32) {
        self.evict(self.holder(place));
    }

    /// Where the process is now that has what was given out at a place.
    pub(super) fn holder(&self, place: u32) -> u32 {
        let record = &self.workers[place as usize];
        match record.state {
            WorkerState::Returned => self.find_name(record.name).unwrap_or(place),
            _ => place,
        }
    }

    /// A place for a registration: an untouched one, or the one that has been free longest.
    fn take_place(
        &mut self,
        port: PortId,
        registration: &Registration,
    ) -> Result<u32, RegistrationRefusal> {
        let labels = self
            .take_labels(registration.labels)
            .ok_or(RegistrationRefusal::LabelsFull)?;
        let Some(place) = self.vacant_place() else {
            self.drop_labels(labels);
            return Err(RegistrationRefusal::WorkersFull);
        };
        let slots = registration.slots.clamp(1, self.limits.slots_max());
        let prefetch = registration.prefetch.min(self.limits.prefetch_max());
        self.workers[place as usize] = WorkerRecord {
            name: registration.name,
            instance: registration.instance,
            number: registration.number,
            token: registration.token,
            port,
            slots,
            prefetch,
            busy: registration.busy.min(slots),
            labels,
            window: Window::new(self.limits.window(slots, prefetch)),
            ..WorkerRecord::vacant()
        };
        Ok(place)
    }

    fn vacant_place(&mut self) -> Option<u32> {
        if self.workers.len() < self.limits.workers() as usize {
            self.workers.push(WorkerRecord::vacant());
            self.crews.add_worker();
            Some(self.workers.len() as u32 - 1)
        } else {
            self.free_workers.pop_front(&mut self.workers)
        }
    }

    /// The places of all these labels and of everybody's; `None`, and nothing done, when there are
    /// too many.
    fn take_labels(&mut self, labels: Labels) -> Option<LabelPlaces> {
        let mut places = COMMON;
        for (place, key) in places[1..].iter_mut().zip(labels.iter()) {
            match self.crews.take_ref(key) {
                Some(label) => *place = label,
                None => {
                    self.drop_labels(places);
                    return None;
                }
            }
        }
        Some(places)
    }

    fn drop_labels(&mut self, places: LabelPlaces) {
        let present = places.into_iter().skip(1).take_while(|label| *label != NIL);
        present.for_each(|label| self.drop_label(label));
    }

    /// One less needs a label.
    pub(super) fn drop_label(&mut self, label: u32) {
        let labels = &mut self.crews.labels;
        if labels[label as usize].placing.is_linked() && self.crews.is_last_ref(label) {
            self.placing.remove(&mut self.crews.labels, label);
        }
        self.crews.drop_ref(label);
    }

    /// Gives a place back; nothing names it.
    pub(super) fn free_place(&mut self, place: u32) {
        let record = &mut self.workers[place as usize];
        debug_assert_eq!(record.named, 0);
        debug_assert_eq!(record.class, Class::ABSENT);
        let labels = record.labels;
        *record = WorkerRecord::vacant();
        self.drop_labels(labels);
        self.free_workers.push_back(&mut self.workers, place);
    }

    /// Attaches the worker of a place under a name that is free, with the next epoch.
    fn admit(&mut self, now: Instant, place: u32) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        self.load(place, |record| {
            record.state = WorkerState::Up;
            record.epoch = epoch;
            record.heard_at = now;
        });
        self.grants
            .note(epoch, self.workers[place as usize].instance);
        self.roster.push_back(&mut self.workers, place);
        self.names
            .insert(Hash::of_u128(self.workers[place as usize].name.0), place);
        self.workers_up += 1;
        self.stats.workers_admitted += 1;
        self.welcome_back(place);
        epoch
    }

    /// Tells a registration that waits that it need not wait any longer.
    fn refuse(&mut self, place: u32, refusal: RegistrationRefusal) {
        let record = &mut self.workers[place as usize];
        record.state = WorkerState::Refused;
        record.due.refused = Some(refusal);
        self.mark_control(place);
    }

    /// The worker that is up under this name.
    pub(super) fn find_name(&self, name: NameKey) -> Option<u32> {
        self.names.find(Hash::of_u128(name.0), |place| {
            self.workers[place as usize].name == name
        })
    }

    fn forget_name(&mut self, place: u32) {
        let workers = &self.workers;
        let hash_of = |place: u32| Hash::of_u128(workers[place as usize].name.0);
        self.names.remove(hash_of(place), place, hash_of);
    }

    /// Whether this incarnation is attached.
    #[inline]
    pub(super) fn is_up(&self, worker: WorkerId, epoch: Epoch) -> bool {
        let record = self.workers.get(worker.0 as usize);
        record.is_some_and(|record| record.is_up() && record.epoch == epoch)
    }

    pub(super) fn has_place(&self, worker: WorkerId) -> bool {
        (worker.0 as usize) < self.workers.len()
    }

    /// Changes how much a worker has, and what follows from that.
    #[inline]
    pub(super) fn load(&mut self, place: u32, change: impl FnOnce(&mut WorkerRecord)) {
        change(&mut self.workers[place as usize]);
        self.reclass(place);
    }

    /// Takes note that a worker may have become more or less busy, or barred, or open.
    #[inline]
    pub(super) fn reclass(&mut self, place: u32) {
        let record = &mut self.workers[place as usize];
        let (to, free) = record.load_now();
        let from = record.class;
        self.free_slots = self.free_slots + free - record.free;
        record.free = free;
        if from != to {
            self.change_class(place, from, to);
        }
    }

    fn change_class(&mut self, place: u32, from: Class, to: Class) {
        self.stats.hungry += u64::from(to == Class::IDLE);
        self.stats.hungry -= u64::from(from == Class::IDLE);
        self.overloaded += u32::from(to == Class::OVER);
        self.overloaded -= u32::from(from == Class::OVER);
        let record = &mut self.workers[place as usize];
        record.class = to;
        record.was_busy = true;
        let moves = to < record.listed || to >= Class::OVER || record.listed >= Class::OVER;
        if moves {
            self.relist(place);
        }
        // Who becomes busier changes nothing for what waits, unless it may have to give up an
        // offer.
        let matters = self.choosy_waiting > 0 || self.overloaded > 0 || moves;
        if matters && (to < from || to >= Class::OVER) {
            let labels = self.workers[place as usize].labels;
            let present = labels.into_iter().take_while(|label| *label != NIL);
            present.for_each(|label| self.stir(label));
        }
    }

    /// Puts a worker where it belongs in its crews, at the end of the line.
    pub(super) fn relist(&mut self, place: u32) {
        let record = &mut self.workers[place as usize];
        let (from, to) = (record.listed, record.class);
        record.listed = to;
        record.was_busy = false;
        self.crews.move_to(place, &record.labels, from, to);
    }

    /// Lists a worker for directed envelopes if one can be handed out.
    #[inline]
    pub(super) fn mark_ready(&mut self, place: u32) {
        if !self.workers[place as usize].ready.is_linked() && self.is_ready(place) {
            self.ready.push_back(&mut self.workers, place);
        }
    }

    /// Whether a directed task can be handed to this worker now.
    #[inline]
    pub(super) fn is_ready(&self, place: u32) -> bool {
        // Most often nothing waits.
        if self.backlogs.is_empty(Home::worker(place)) {
            return false;
        }
        let record = &self.workers[place as usize];
        let open = record.class != Class::ABSENT && record.window.room() > 0;
        open && !record.heirs.is_linked()
    }

    /// The port of the process that has what was given out at a place.
    pub(super) fn control_port(&self, place: u32) -> PortId {
        self.workers[self.holder(place) as usize].port
    }

    /// Lists a worker at its port if there is something to be told.
    pub(super) fn mark_control(&mut self, place: u32) {
        let record = &self.workers[place as usize];
        if !record.has_control() {
            return;
        }
        let port = self.control_port(place);
        if !self.workers[place as usize].control.is_linked() {
            let list = &mut self.ports[usize::from(port.0)].control;
            list.push_back(&mut self.workers, place);
        }
        self.mark_port(port);
    }
}
