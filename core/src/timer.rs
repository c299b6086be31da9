//! Task deadlines: a wheel of several levels, linked through the slab.
//!
//! A task is due at the earliest of its instants ([`TaskRecord::due_at`]), which lies in some
//! *tick* (2^20 ns, about a millisecond). Ticks are processed only when they are wholly past, so
//! nothing fires early.
//!
//! A tick is a number of eight digits to the base 64, and each level has one slot per value of its
//! digit. A task hangs at the level of the highest digit in which its tick differs from the present
//! one, so all that is due within the present 64 ticks is at level 0, a slot per tick. When time
//! enters a slot of a higher level, its tasks *move*: each hangs in again, further down, and is
//! touched at most once per level. A task that is far off therefore costs nothing until its time
//! comes near, and one that is due is found without a look at any other, however many there are.
//! (G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels", scheme 7.)
//!
//! Moving is spread over calls like all other work. So a task is handled at most one tick late, and
//! as much later as it takes to move those that share its slot.

use alloc::boxed::Box;
use alloc::vec;

use crate::list::List;
use crate::task::{TaskRecord, Timed};
use crate::time::Instant;

/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 20;
/// Bits of a digit: a word says which slots of a level have something.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Digits of the last tick that an instant can be in.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;

/// Which tasks are due when.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Level by level, from the one with a slot per tick upwards.
    slots: Box<[List<Timed>]>,
    /// Per level, one bit per slot that has something.
    occupied: [u64; LEVELS],
    /// One bit per level that has something.
    levels: u8,
    /// Tasks of a slot that time has entered, on their way to a lower level.
    moving: List<Timed>,
    /// The present tick: all before it were processed, and no task that hangs in is due before it.
    tick: u64,
    len: u32,
}

/// Where a task hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    level: u32,
    digit: u32,
}

impl Spot {
    /// Of a tick, seen from the present one.
    #[inline]
    const fn of(tick: u64, present: u64) -> Self {
        // The lowest bit makes no difference to the level, and gives a zero one.
        let level = ((tick ^ present) | 1).ilog2() / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) as u32 % SLOTS as u32;
        Self { level, digit }
    }

    /// The first tick of this slot, seen from the present one.
    #[inline]
    const fn start(self, present: u64) -> u64 {
        let below = self.level * DIGIT_BITS;
        let higher = present >> below >> DIGIT_BITS << DIGIT_BITS;
        (higher | self.digit as u64) << below
    }

    #[inline]
    const fn index(self) -> usize {
        (self.level as usize * SLOTS) + self.digit as usize
    }
}

impl Wheel {
    /// An empty wheel.
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![List::new(); LEVELS * SLOTS].into_boxed_slice(),
            occupied: [0; LEVELS],
            levels: 0,
            moving: List::new(),
            tick: 0,
            len: 0,
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
        if record.is_held() {
            record.hold_until = record.hold_until.max(floor);
        }
        debug_assert!(record.due_at() != Instant::NEVER, "due never");
        self.hang(tasks, index);
        self.len += 1;
    }

    /// Takes out a task that hangs in, *before* either of its instants changes.
    pub(crate) fn remove(&mut self, tasks: &mut [TaskRecord], index: u32) {
        self.len -= 1;
        // Which list it is in matters at the ends only, and those of `moving` are known.
        if self.moving.is_end(index) {
            self.moving.remove(tasks, index);
            return;
        }
        let spot = Spot::of(tick_of(tasks[index as usize].due_at()), self.tick);
        let slot = &mut self.slots[spot.index()];
        slot.remove(tasks, index);
        if slot.is_empty() {
            self.vacate(spot);
        }
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
        loop {
            if let Some(index) = self.moving.front() {
                *steps = steps.checked_sub(1)?;
                self.moving.remove(tasks, index);
                if tick_of(tasks[index as usize].due_at()) < present {
                    self.len -= 1;
                    return Some(index);
                }
                self.hang(tasks, index);
                continue;
            }
            let first = self.first();
            let start = first.map(|spot| spot.start(self.tick));
            match (first, start) {
                (Some(spot), Some(start)) if spot.level == 0 && start < present => {
                    *steps = steps.checked_sub(1)?;
                    self.tick = start;
                    let index = self.slots[spot.index()].front()?;
                    self.remove(tasks, index);
                    return Some(index);
                }
                (Some(spot), Some(start)) if spot.level > 0 && start <= present => {
                    self.tick = start;
                    self.moving = core::mem::replace(&mut self.slots[spot.index()], List::new());
                    self.vacate(spot);
                }
                _ => {
                    self.tick = self.tick.max(present);
                    return None;
                }
            }
        }
    }

    /// No task is due before this instant; `None` when none is due ever. It may be too early, by
    /// as much as a slot is long, never too late.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if !self.moving.is_empty() {
            return Some(Instant(self.tick << TICK_BITS));
        }
        let first = self.first()?;
        let start = first.start(self.tick);
        // A tick is processed when it is over, a slot of many when it begins.
        Some(Instant((start + u64::from(first.level == 0)) << TICK_BITS))
    }

    /// The first slot that has something: all of a level lies before all of the next.
    #[inline]
    fn first(&self) -> Option<Spot> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let digit = self.occupied[level as usize].trailing_zeros();
        Some(Spot { level, digit })
    }

    fn hang(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let spot = Spot::of(tick_of(tasks[index as usize].due_at()), self.tick);
        self.slots[spot.index()].push_back(tasks, index);
        self.occupied[spot.level as usize] |= 1 << spot.digit;
        self.levels |= 1 << spot.level;
    }

    /// Nothing is left in this slot.
    fn vacate(&mut self, spot: Spot) {
        let occupied = &mut self.occupied[spot.level as usize];
        *occupied &= !(1 << spot.digit);
        if *occupied == 0 {
            self.levels &= !(1 << spot.level);
        }
    }
}

const fn tick_of(at: Instant) -> u64 {
    at.0 >> TICK_BITS
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
        // Four levels far, and the end of time.
        let far = (SLOTS as u64).pow(3) * 3 * TICK;
        let turns = (SLOTS as u64).pow(2) * 3 * TICK;
        prop_oneof![
            (0usize..8, 0..turns).prop_map(|(i, ahead)| Op::Insert(i, ahead)),
            (0usize..8, 0..far).prop_map(|(i, ahead)| Op::Insert(i, ahead)),
            (0usize..8).prop_map(|i| Op::Insert(i, u64::MAX / 2)),
            (0usize..8, 0..3 * TICK).prop_map(|(i, ahead)| Op::Insert(i, ahead)),
            (0usize..8).prop_map(Op::Remove),
            (0..2 * TICK, 1u32..9).prop_map(|(by, steps)| Op::Advance(by, steps)),
            (0..turns, 1u32..9).prop_map(|(by, steps)| Op::Advance(by, steps)),
            (0..far, 1u32..9).prop_map(|(by, steps)| Op::Advance(by, steps)),
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
