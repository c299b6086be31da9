//! Offers: tasks that several workers may run, but not all, or not all equally well.
//!
//! A task for a label, and a task for any worker that was lost or has failed, cannot go through the
//! pool: whoever takes from it could not put it back. It goes into the mailbox of one worker
//! instead, the least busy that may have it, and no further ahead than one envelope beyond the
//! worker's slots. Each label has
//!
//! * a backlog, of tasks that all its workers are equally good for, and
//! * its *choosy* tasks, which would rather not go back to a worker that has lost or failed them.
//!   They come first, and each is looked at again whenever a worker comes, goes, or becomes less
//!   busy. A choosy task waits as long as a worker is attached that it has not tried, and for no
//!   worker that is not there.
//!
//! A mailbox may still hold an offer up: its worker has taken something from the pool at the same
//! moment, or had directed tasks. So when a worker becomes hungry and nothing waits for it, offers
//! are sought at the overloaded members of its crews, withdrawn, and made again.

use super::Scheduler;
use super::tasks::{Side, label_of};
use crate::crew::{Class, Crews};
use crate::effect::Effect;
use crate::list::NIL;
use crate::task::{Home, Wish};

/// Who should have a task.
enum Pick {
    /// This worker.
    Worker(u32),
    /// None of those that could be offered something.
    Nobody,
    /// Somebody did not stand where it belongs, and does now.
    LookAgain,
}

impl Scheduler {
    /// Something has changed for a label's workers: looks at everything again.
    #[inline]
    pub(super) fn stir(&mut self, label: u32) {
        let record = &mut self.crews.labels[label as usize];
        record.again_left = record.again_len;
        record.seek_left = if record.is_hungry() { record.over } else { 0 };
        self.mark_placing(label);
    }

    /// Lists a label if an offer could be made, or be made better.
    #[inline]
    pub(super) fn mark_placing(&mut self, label: u32) {
        let linked = self.crews.labels[label as usize].placing.is_linked();
        if !linked && self.is_placeable(label) {
            self.placing.push_back(&mut self.crews.labels, label);
        }
    }

    #[inline]
    pub(super) fn is_placeable(&self, label: u32) -> bool {
        let record = &self.crews.labels[label as usize];
        record.again_left > 0 || record.seek_left > 0 || self.has_fresh(label)
    }

    /// Whether a task that is not choosy waits that somebody could be offered.
    #[inline]
    fn has_fresh(&self, label: u32) -> bool {
        label != Crews::EVERYBODY
            && self.crews.labels[label as usize].can_take()
            && !self.backlogs.is_empty(Home::label(label))
    }

    /// The next offer; labels take turns.
    pub(super) fn poll_placing(&mut self) -> Option<Effect> {
        for _ in 0..self.limits.work_per_poll() {
            let label = self.placing.pop_front(&mut self.crews.labels)?;
            let effect = self.place_one(label);
            self.mark_placing(label);
            if effect.is_some() {
                return effect;
            }
        }
        None
    }

    /// One step for one label.
    fn place_one(&mut self, label: u32) -> Option<Effect> {
        if self.crews.labels[label as usize].again_left > 0 {
            return self.place_choosy(label);
        }
        if self.has_fresh(label) {
            let Pick::Worker(place) = self.pick(label, NIL) else {
                return None;
            };
            let index = self.pop_waiting(Home::label(label))?;
            return Some(self.mail(index, place));
        }
        self.seek(label);
        None
    }

    /// Looks at the first choosy task of a label.
    fn place_choosy(&mut self, label: u32) -> Option<Effect> {
        let index = self.crews.labels[label as usize].again.front()?;
        let history = self.tasks.records[index as usize].history;
        match self.pick(label, history) {
            Pick::Worker(place) => {
                self.detach(index);
                return Some(self.mail(index, place));
            }
            Pick::LookAgain => {}
            Pick::Nobody if self.has_untried(label, history) => {
                let record = &mut self.crews.labels[label as usize];
                record.again_left -= 1;
                record.again.remove(&mut self.tasks.records, index);
                record.again.push_back(&mut self.tasks.records, index);
            }
            Pick::Nobody => {
                // All that are there have lost or failed it: from here on it does not matter.
                self.detach(index);
                self.tasks.records[index as usize].choosy = false;
                self.join_waiting(index, Side::Front);
            }
        }
        None
    }

    /// Who should have the next task of a label: the least busy of those that are not in its
    /// history, if it has one.
    fn pick(&mut self, label: u32, history: u32) -> Pick {
        let history = self.histories.get(history);
        let look = |place: u32| {
            let worker = &self.workers[place as usize];
            if worker.was_busy {
                return Some((place, false));
            }
            let tried = history.is_some_and(|history| history.has(worker.name));
            (!tried).then_some((place, true))
        };
        match self.crews.least_busy(label, look) {
            Some((place, true)) => Pick::Worker(place),
            Some((place, false)) => {
                self.relist(place);
                Pick::LookAgain
            }
            None => Pick::Nobody,
        }
    }

    /// Whether a worker of this label is there that has not lost or failed the task.
    fn has_untried(&self, label: u32, history: u32) -> bool {
        let members = self.crews.labels[label as usize].members() as usize;
        let Some(history) = self.histories.get(history) else {
            return members > 0;
        };
        let tried = history.names().filter(|name| {
            let place = self.find_name(*name);
            place.is_some_and(|place| {
                let worker = &self.workers[place as usize];
                worker.class != Class::ABSENT && worker.labels.contains(&label)
            })
        });
        tried.count() < members
    }

    /// Looks at one overloaded worker on behalf of a hungry one: an offer that waits there is
    /// withdrawn, the latest first, because that is the least likely to have started.
    fn seek(&mut self, label: u32) {
        let record = &mut self.crews.labels[label as usize];
        if !record.is_hungry() {
            record.seek_left = 0;
            return;
        }
        let Some(place) = self.crews.next_overloaded(label) else {
            self.crews.labels[label as usize].seek_left = 0;
            return;
        };
        let offers = self.workers[place as usize].offers;
        let mut at = offers.back();
        // At most a mailbox full of them.
        while let Some(index) = at {
            let record = &self.tasks.records[index as usize];
            if label_of(record.home.route()) == label {
                let history = if record.choosy { record.history } else { NIL };
                match self.pick(label, history) {
                    Pick::Worker(best) if self.workers[best as usize].class == Class::IDLE => {
                        self.withdraw(index, Wish::Reoffer);
                        break;
                    }
                    Pick::Worker(_) | Pick::Nobody => {}
                    Pick::LookAgain => return,
                }
            }
            at = offers.before(&self.tasks.records, index);
        }
        let record = &mut self.crews.labels[label as usize];
        record.seek_left = record.seek_left.saturating_sub(1);
    }
}
