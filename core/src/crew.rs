//! Who can take an offer: for each label the workers that have it, by how busy they are.
//!
//! A worker's [`Class`] says how busy it is, relative to its slots; workers of one class stand in
//! line, the one that has been in it the longest first. Label 0 is a matter of course: everybody
//! has it. Whoever may not be offered anything (gone, held, draining) is in no crew.
//!
//! Most tasks come through the pool or are directed, and for those nobody looks at the lines. So a
//! worker that gets busier stays where it is, with a note: whoever comes upon the note when looking
//! for the least busy puts the worker where it belongs, at the end of the line. A worker that gets
//! less busy than where it stands, and one that may have to give an offer up, moves at once. So
//! nobody stands behind where it belongs, and each note costs one step, once. The price: of those
//! that are idle again since somebody last looked, it is not known who has been so the longest;
//! they come after those that were idle all the time.

use alloc::vec::Vec;

use crate::id::{LabelKey, Labels};
use crate::index::{Hash, Index};
use crate::list::{Link, List, NIL, linked};
use crate::task::Place;

/// Role: members of a crew, of one class; or of no crew.
pub(crate) enum Crew {}
/// Role: labels with something that could be offered; or places for labels that are free.
pub(crate) enum Placing {}

/// How busy a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class(u8);

impl Class {
    /// Nothing is out: hungry.
    pub(crate) const IDLE: Self = Self(0);
    /// All slots are taken; what else it is given is there when one becomes free.
    const AHEAD: Self = Self(7);
    /// Nothing can be offered.
    const CLOSED: Self = Self(8);
    /// More is out than there are slots, and something of it could run elsewhere.
    pub(crate) const OVER: Self = Self(9);
    /// In no crew.
    pub(crate) const ABSENT: Self = Self(10);
    const COUNT: usize = 10;
    /// One bit for each class that can be offered something.
    const OFFERABLE: u16 = 0xff;

    /// The class of a worker with this load; `places` are its slots and what may be sent ahead,
    /// `room` says whether there is credit.
    pub(crate) fn of(load: u32, slots: u32, places: u32, room: bool) -> Self {
        if load > places || !room {
            Self::CLOSED
        } else if load >= slots {
            Self::AHEAD
        } else if load == 0 {
            Self::IDLE
        } else {
            // The six classes between share the slots evenly.
            Self(1 + (load * 6 / slots) as u8)
        }
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One worker's membership in one crew.
#[derive(Debug)]
struct Member {
    link: Link,
}

linked!(Member, Crew, link);

/// One label.
#[derive(Debug)]
pub(crate) struct LabelRecord {
    pub(crate) key: LabelKey,
    /// Workers that announced it, and tasks that ask for it.
    refs: u32,
    crew: [List<Crew>; Class::COUNT],
    /// One bit for each class that has members.
    occupied: u16,
    members: u32,
    /// How many of them are overloaded.
    pub(crate) over: u32,
    /// Re-runs that would rather not go to a worker that has lost or failed them.
    pub(crate) again: List<Place>,
    pub(crate) again_len: u32,
    /// How many of them are still to be looked at since anything has changed.
    pub(crate) again_left: u32,
    /// How many overloaded members are still to be looked at on behalf of a hungry one.
    pub(crate) seek_left: u32,
    pub(crate) placing: Link,
}

linked!(LabelRecord, Placing, placing);

impl LabelRecord {
    const fn vacant(key: LabelKey) -> Self {
        Self {
            key,
            refs: 0,
            crew: [List::new(); Class::COUNT],
            occupied: 0,
            members: 0,
            over: 0,
            again: List::new(),
            again_len: 0,
            again_left: 0,
            seek_left: 0,
            placing: Link::UNLINKED,
        }
    }

    /// Whether anybody can be offered something, by where they stand.
    pub(crate) const fn can_take(&self) -> bool {
        self.occupied & Class::OFFERABLE != 0
    }

    /// Whether anybody in the crew is hungry, by where they stand.
    pub(crate) const fn is_hungry(&self) -> bool {
        self.occupied & (1 << Class::IDLE.index()) != 0
    }

    /// How many workers are in the crew.
    pub(crate) const fn members(&self) -> u32 {
        self.members
    }
}

/// All labels and crews.
#[derive(Debug)]
pub(crate) struct Crews {
    /// Label 0 is everybody's.
    pub(crate) labels: Vec<LabelRecord>,
    capacity: u32,
    free: List<Placing>,
    index: Index,
    /// A fixed number for each place of the worker table.
    members: Vec<Member>,
}

/// The labels of a worker, as places in the table; the first is everybody's.
pub(crate) type LabelPlaces = [u32; Labels::MAX + 1];

/// Of a worker that has only what everybody has.
pub(crate) const COMMON: LabelPlaces = {
    let mut places = [NIL; Labels::MAX + 1];
    places[0] = Crews::EVERYBODY;
    places
};

impl Crews {
    /// The label that everybody has.
    pub(crate) const EVERYBODY: u32 = 0;
    const PER_WORKER: usize = Labels::MAX + 1;

    /// No crews yet, with room for so many labels and workers.
    pub(crate) fn new(labels: u32, workers: u32) -> Self {
        let mut all = Vec::with_capacity(1 + labels as usize);
        all.push(LabelRecord::vacant(LabelKey(0)));
        Self {
            labels: all,
            capacity: 1 + labels,
            free: List::new(),
            index: Index::new(labels.max(1)),
            members: Vec::with_capacity(workers as usize * Self::PER_WORKER),
        }
    }

    /// Makes the memberships of one more place of the worker table.
    pub(crate) fn add_worker(&mut self) {
        for _ in 0..Self::PER_WORKER {
            self.members.push(Member {
                link: Link::UNLINKED,
            });
        }
    }

    /// The place of a label, which is held until [`drop_ref`](Self::drop_ref); `None` when there
    /// are as many labels as may be.
    pub(crate) fn take_ref(&mut self, key: LabelKey) -> Option<u32> {
        let label = match self.find(key) {
            Some(label) => label,
            None => self.make(key)?,
        };
        self.labels[label as usize].refs += 1;
        Some(label)
    }

    /// One less needs this label; without any, its place is free.
    pub(crate) fn drop_ref(&mut self, label: u32) {
        let record = &mut self.labels[label as usize];
        record.refs -= 1;
        if record.refs > 0 {
            return;
        }
        debug_assert!(record.occupied == 0 && record.again.is_empty());
        let labels = &self.labels;
        let hash_of = |label: u32| hash(labels[label as usize].key);
        self.index.remove(hash_of(label), label, hash_of);
        self.free.push_back(&mut self.labels, label);
    }

    /// The place of a label that somebody has or asks for.
    pub(crate) fn find(&self, key: LabelKey) -> Option<u32> {
        self.index
            .find(hash(key), |label| self.labels[label as usize].key == key)
    }

    /// Whether nobody else needs it.
    pub(crate) fn is_last_ref(&self, label: u32) -> bool {
        self.labels[label as usize].refs == 1
    }

    /// Moves a worker in all its crews, to the end of the line of its new class.
    pub(crate) fn move_to(&mut self, place: u32, labels: &LabelPlaces, from: Class, to: Class) {
        let first = place * Self::PER_WORKER as u32;
        let present = labels.iter().take_while(|label| **label != NIL);
        for (label, member) in present.zip(first..) {
            let record = &mut self.labels[*label as usize];
            if from != Class::ABSENT {
                let line = &mut record.crew[from.index()];
                line.remove(&mut self.members, member);
                if line.is_empty() {
                    record.occupied &= !(1 << from.index());
                }
            }
            if to != Class::ABSENT {
                record.crew[to.index()].push_back(&mut self.members, member);
                record.occupied |= 1 << to.index();
            }
            record.members += u32::from(from == Class::ABSENT);
            record.members -= u32::from(to == Class::ABSENT);
            record.over += u32::from(to == Class::OVER);
            record.over -= u32::from(from == Class::OVER);
        }
    }

    /// Calls `look` with those that can be offered something, the least busy first and the longest
    /// idle first among equals, by where they stand, until it makes up its mind.
    #[inline]
    pub(crate) fn least_busy<R>(
        &self,
        label: u32,
        mut look: impl FnMut(u32) -> Option<R>,
    ) -> Option<R> {
        let record = &self.labels[label as usize];
        let mut classes = record.occupied & Class::OFFERABLE;
        while classes != 0 {
            let line = &record.crew[classes.trailing_zeros() as usize];
            let mut workers = line.iter(&self.members).map(worker_of);
            let found = workers.find_map(&mut look);
            if found.is_some() {
                return found;
            }
            classes &= classes - 1;
        }
        None
    }

    /// The next overloaded member, which then goes to the end of its line.
    pub(crate) fn next_overloaded(&mut self, label: u32) -> Option<u32> {
        let line = &mut self.labels[label as usize].crew[Class::OVER.index()];
        let member = line.pop_front(&mut self.members)?;
        line.push_back(&mut self.members, member);
        Some(worker_of(member))
    }

    fn make(&mut self, key: LabelKey) -> Option<u32> {
        let label = if (self.labels.len() as u32) < self.capacity {
            self.labels.push(LabelRecord::vacant(key));
            self.labels.len() as u32 - 1
        } else {
            let label = self.free.pop_front(&mut self.labels)?;
            self.labels[label as usize] = LabelRecord::vacant(key);
            label
        };
        self.index.insert(hash(key), label);
        Some(label)
    }

    /// Checks one worker's memberships and counts; see [`Scheduler::sanity_check`].
    ///
    /// # Panics
    /// When something is not what it should be.
    ///
    /// [`Scheduler::sanity_check`]: crate::Scheduler::sanity_check
    pub(crate) fn check(
        &self,
        label: u32,
        refs: u32,
        class_of: impl Fn(u32) -> Option<Class>,
        members: u32,
    ) {
        let record = &self.labels[label as usize];
        let mut listed = 0;
        for (index, line) in record.crew.iter().enumerate() {
            assert_eq!(record.occupied & (1 << index) != 0, !line.is_empty());
            for member in line.iter(&self.members) {
                let class = class_of(worker_of(member));
                assert_eq!(class.map(Class::index), Some(index), "in another class");
                listed += 1;
            }
        }
        assert_eq!(listed, members, "members of label {label}");
        assert_eq!(record.members, members, "counted members of label {label}");
        assert!(record.again_left <= record.again_len);
        if label != Self::EVERYBODY {
            assert_eq!(record.refs, refs, "holders of label {label}");
            let found = self.find(record.key) == Some(label);
            assert_eq!(found, refs > 0, "label {label} in the index");
        }
    }
}

fn worker_of(member: u32) -> u32 {
    member / Crews::PER_WORKER as u32
}

fn hash(key: LabelKey) -> Hash {
    Hash::of(key.0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_follow_the_share_of_the_slots() {
        let class = |load, slots| Class::of(load, slots, slots, true);
        assert_eq!(class(0, 1), Class::IDLE);
        assert!(class(1, 4) < class(3, 4));
        assert_eq!(class(1, 2), class(2, 4));
        assert_eq!(class(1, 1), Class::AHEAD);
        assert_eq!(class(2, 1), Class::CLOSED);
        assert_eq!(Class::of(0, 1, 1, false), Class::CLOSED);
        assert_eq!(Class::of(3, 1, 3, true), Class::AHEAD);
        assert_eq!(Class::of(4, 1, 3, true), Class::CLOSED);
        assert!(class(63, 64) < Class::AHEAD);
    }

    #[test]
    fn the_longest_idle_of_the_least_busy_is_first() {
        let mut crews = Crews::new(2, 4);
        (0..4).for_each(|_| crews.add_worker());
        let gpu = crews.take_ref(LabelKey(9)).expect("room");
        let mut labels = COMMON;
        labels[1] = gpu;
        let half = Class::of(1, 2, 2, true);
        crews.move_to(0, &COMMON, Class::ABSENT, Class::IDLE);
        crews.move_to(1, &labels, Class::ABSENT, half);
        crews.move_to(2, &labels, Class::ABSENT, Class::IDLE);
        crews.move_to(3, &labels, Class::ABSENT, Class::IDLE);
        assert_eq!(crews.least_busy(gpu, Some), Some(2));
        assert_eq!(crews.least_busy(gpu, |w| (w == 1).then_some(w)), Some(1));
        crews.move_to(2, &labels, Class::IDLE, half);
        assert_eq!(crews.least_busy(gpu, Some), Some(3));
        crews.move_to(3, &labels, Class::IDLE, Class::OVER);
        assert_eq!(crews.least_busy(gpu, Some), Some(1), "longer half busy");
        assert_eq!(crews.least_busy(Crews::EVERYBODY, Some), Some(0));
        assert_eq!(crews.next_overloaded(gpu), Some(3));
        assert_eq!(crews.labels[gpu as usize].members(), 3);
    }

    #[test]
    fn a_label_is_there_as_long_as_somebody_needs_it() {
        let mut crews = Crews::new(1, 1);
        let first = crews.take_ref(LabelKey(1)).expect("room");
        assert_eq!(crews.take_ref(LabelKey(1)), Some(first));
        assert_eq!(crews.take_ref(LabelKey(2)), None, "full");
        crews.drop_ref(first);
        assert_eq!(crews.find(LabelKey(1)), Some(first));
        crews.drop_ref(first);
        assert_eq!(crews.find(LabelKey(1)), None);
        assert_eq!(crews.take_ref(LabelKey(2)), Some(first), "its place again");
    }
}
