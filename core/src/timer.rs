//! Task deadlines: one hashed wheel, linked through the slab.
//!
//! A task is due at the earliest of its instants ([`TaskRecord::due_at`]) and hangs in the slot
//! of that instant's *tick* (2^20 ns, about a millisecond). Ticks are processed only when they are
//! wholly past, so nothing fires early, and at most one tick late. A slot is shared by all ticks
//! that are equal modulo the number of slots: a task of a later turn stays where it is.

use alloc::boxed::Box;
use alloc::vec;

use crate::list::List;
use crate::task::{TaskRecord, Timed};
use crate::time::Instant;

/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 20;
/// Slots; a turn of the wheel is about 4.3 s.
const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;

/// Which tasks are due when.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[List<Timed>]>,
    /// One bit per slot that has something.
    occupied: [u64; WORDS],
    /// The first tick that was not processed.
    tick: u64,
    len: u32,
    /// Where in the slot of `tick` the walk goes on, when it was stopped half-way.
    resume: Option<u32>,
}

impl Wheel {
    /// An empty wheel.
    pub(crate) fn new() -> Self {
        let slots = vec![List::new(); SLOTS].into_boxed_slice();
        Self {
            slots,
            occupied: [0; WORDS],
            tick: 0,
            len: 0,
            resume: None,
        }
    }

    /// How many tasks hang in it.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Hangs a task in that is due some time. An instant that is past moves to the first tick
    /// that is still to be processed, so that the task's slot follows from its instants.
    pub(crate) fn insert(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let record = &mut tasks[index as usize];
        let floor = Instant(self.tick << TICK_BITS);
        record.start_at = record.start_at.max(floor);
        record.finish_at = record.finish_at.max(floor);
        if record.held {
            record.hold_until = record.hold_until.max(floor);
        }
        debug_assert!(record.due_at() != Instant::NEVER, "due never");
        let slot = slot_of(record);
        self.slots[slot].push_back(tasks, index);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Takes out a task that hangs in, *before* either of its instants changes.
    pub(crate) fn remove(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let slot = slot_of(&tasks[index as usize]);
        if self.resume == Some(index) {
            self.resume = self.slots[slot].after(tasks, index);
        }
        self.slots[slot].remove(tasks, index);
        if self.slots[slot].is_empty() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.len -= 1;
    }

    /// Takes out and returns one task that is due at `now`. Looks at up to `steps` tasks, and
    /// counts them off: with none left, [`next_timeout`](Self::next_timeout) says whether to go on.
    pub(crate) fn pop_due(
        &mut self,
        tasks: &mut [TaskRecord],
        now: Instant,
        steps: &mut u32,
    ) -> Option<u32> {
        let present = tick_of(now);
        while self.tick < present {
            let first = self.first_occupied().unwrap_or(present).min(present);
            if first > self.tick {
                self.tick = first;
                self.resume = None;
                continue;
            }
            let list = self.slots[first as usize % SLOTS];
            let mut at = self.resume.or(list.front());
            while let Some(index) = at {
                self.resume = at;
                *steps = steps.checked_sub(1)?;
                at = list.after(tasks, index);
                if tick_of(tasks[index as usize].due_at()) < present {
                    self.remove(tasks, index);
                    self.tick += u64::from(at.is_none());
                    return Some(index);
                }
            }
            self.resume = None;
            self.tick += 1;
        }
        None
    }

    /// No task is due before this instant; `None` when none is due ever. It may be too early by
    /// whole turns of the wheel, never too late.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let first = self.first_occupied()?;
        Some(Instant((first + 1) << TICK_BITS))
    }

    /// The first tick from the present one on whose slot has something.
    fn first_occupied(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let start = self.tick as usize % SLOTS;
        // The word of the present slot comes twice: first what is ahead in it, last what is behind.
        (0..=WORDS).find_map(|step| {
            let word = (start / 64 + step) % WORDS;
            let ahead = !0 << (start % 64);
            let mask = match step {
                0 => ahead,
                WORDS => !ahead,
                _ => !0,
            };
            let bits = self.occupied[word] & mask;
            let slot = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.tick + (slot.wrapping_sub(start) % SLOTS) as u64)
        })
    }
}

const fn tick_of(at: Instant) -> u64 {
    at.0 >> TICK_BITS
}

fn slot_of(record: &TaskRecord) -> usize {
    tick_of(record.due_at()) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const TICK: u64 = 1 << TICK_BITS;

    fn due_at(at: u64) -> TaskRecord {
        TaskRecord {
            finish_at: Instant(at),
            ..TaskRecord::untouched()
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Insert(usize, u64),
        Remove(usize),
        Advance(u64, u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        let turns = 3 * SLOTS as u64 * TICK;
        prop_oneof![
            (0usize..8, 0..turns).prop_map(|(i, ahead)| Op::Insert(i, ahead)),
            (0usize..8, 0..3 * TICK).prop_map(|(i, ahead)| Op::Insert(i, ahead)),
            (0usize..8).prop_map(Op::Remove),
            (0..2 * TICK, 1u32..9).prop_map(|(by, steps)| Op::Advance(by, steps)),
            (0..turns, 1u32..9).prop_map(|(by, steps)| Op::Advance(by, steps)),
        ]
    }

    proptest! {
        /// Against a vector that is searched: never early, never later than the next whole tick.
        #[test]
        fn behaves_like_a_sorted_vector(ops in proptest::collection::vec(op(), 0..80)) {
            let mut wheel = Wheel::new();
            let mut tasks: Vec<TaskRecord> = (0..8).map(|_| due_at(u64::MAX)).collect();
            let mut now = 0;
            for op in ops {
                match op {
                    Op::Insert(i, ahead) if !tasks[i].timed.is_linked() => {
                        tasks[i].finish_at = Instant(now + ahead);
                        wheel.insert(&mut tasks, i as u32);
                    }
                    Op::Remove(i) if tasks[i].timed.is_linked() => {
                        wheel.remove(&mut tasks, i as u32);
                    }
                    Op::Advance(by, steps) => {
                        now += by;
                        drain(&mut wheel, &mut tasks, now, steps)?;
                    }
                    _ => {}
                }
                let hanging = tasks.iter().filter(|t| t.timed.is_linked());
                prop_assert_eq!(wheel.len() as usize, hanging.clone().count());
                let earliest = hanging.map(|t| t.due_at().0).min();
                prop_assert_eq!(wheel.next_timeout().is_some(), earliest.is_some());
                if let (Some(next), Some(earliest)) = (wheel.next_timeout(), earliest) {
                    prop_assert!(next.0 <= (earliest / TICK + 1) * TICK);
                    prop_assert!(next.0 > now);
                }
            }
        }
    }

    /// Pops in bites of `bite` steps until nothing is due.
    fn drain(
        wheel: &mut Wheel,
        tasks: &mut [TaskRecord],
        now: u64,
        bite: u32,
    ) -> Result<(), TestCaseError> {
        while wheel.next_timeout().is_some_and(|at| at.0 <= now) {
            let mut steps = bite;
            while let Some(index) = wheel.pop_due(tasks, Instant(now), &mut steps) {
                prop_assert!(tasks[index as usize].due_at().0 <= now, "fired early");
            }
        }
        prop_assert!(wheel.pop_due(tasks, Instant(now), &mut 1_000).is_none());
        Ok(())
    }
}
