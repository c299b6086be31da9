//! What became of a task's earlier attempts: a side table, because most tasks have none.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::id::{Epoch, NameKey, WorkerId};
use crate::list::{Link, List, linked};

/// Role: places that are free.
enum Spare {}

/// The workers that lost or failed a task, latest last.
#[derive(Debug)]
pub(crate) struct History {
    workers: ArrayVec<(WorkerId, Epoch, NameKey), { Self::MAX }>,
    spare: Link,
}

linked!(History, Spare, spare);

impl History {
    /// How many are remembered.
    pub(crate) const MAX: usize = 4;

    /// Remembers one more, instead of the oldest if there are too many.
    pub(crate) fn add(&mut self, worker: WorkerId, epoch: Epoch, name: NameKey) {
        if self.workers.is_full() {
            self.workers.remove(0);
        }
        self.workers.push((worker, epoch, name));
    }

    /// The different names among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameKey> {
        let all = self.workers.iter().enumerate();
        let last = all.filter(|(at, (_, _, name))| {
            let later = &self.workers[at + 1..];
            later.iter().all(|(_, _, other)| other != name)
        });
        last.map(|(_, (_, _, name))| *name)
    }

    /// The places that they had, and as which incarnations.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (WorkerId, Epoch)> {
        let workers = self.workers.iter();
        workers.map(|(worker, epoch, _)| (*worker, *epoch))
    }

    /// Whether this name is among them.
    pub(crate) fn has(&self, name: NameKey) -> bool {
        self.workers.iter().any(|(_, _, other)| *other == name)
    }
}

/// The histories of all tasks that have one: at most one per task, so none is ever lacking.
#[derive(Debug)]
pub(crate) struct Histories {
    all: Vec<History>,
    free: List<Spare>,
    live: u32,
}

impl Histories {
    /// Room for so many; what is never used is never touched.
    pub(crate) fn new(tasks: u32) -> Self {
        Self {
            all: Vec::with_capacity(tasks as usize),
            free: List::new(),
            live: 0,
        }
    }

    /// A new one.
    pub(crate) fn take(&mut self) -> u32 {
        self.live += 1;
        if let Some(index) = self.free.pop_front(&mut self.all) {
            return index;
        }
        debug_assert!(self.all.len() < self.all.capacity(), "a history per task");
        self.all.push(History {
            workers: ArrayVec::new(),
            spare: Link::UNLINKED,
        });
        self.all.len() as u32 - 1
    }

    /// Gives one up.
    pub(crate) fn free(&mut self, index: u32) {
        self.live -= 1;
        self.all[index as usize].workers.clear();
        self.free.push_front(&mut self.all, index);
    }

    /// The history with this number; none for a number that stands for none.
    pub(crate) fn get(&self, index: u32) -> Option<&History> {
        self.all.get(index as usize)
    }

    /// The history with this number.
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut History> {
        self.all.get_mut(index as usize)
    }

    /// How many are in use.
    pub(crate) const fn live(&self) -> u32 {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_four_are_remembered() {
        let mut histories = Histories::new(2);
        let index = histories.take();
        let history = histories.get_mut(index).expect("taken");
        for worker in [1, 2, 1, 3, 4] {
            history.add(WorkerId(worker), Epoch(7), NameKey(u128::from(worker)));
        }
        assert!(history.workers().map(|(w, _)| w.0).eq([2, 1, 3, 4]));
        history.add(WorkerId(9), Epoch(8), NameKey(4));
        assert!(history.names().map(|n| n.0).eq([1, 3, 4]), "each once");
        assert!(history.has(NameKey(1)) && !history.has(NameKey(2)));
        histories.free(index);
        let again = histories.take();
        assert_eq!((again, histories.live()), (index, 1));
        assert_eq!(histories.get(again).map(|h| h.workers().count()), Some(0));
    }
}
