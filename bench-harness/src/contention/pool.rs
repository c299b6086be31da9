//! The pool against other queues from which many threads take.
//!
//! ```text
//!                   4096 items of 24 bytes          ┌─────────┐
//!                 ┌───┬───┬───┬───┬───┬───┐   ┌────▶│ thief 0 │ core 0
//!   filled before │ ■ │ ■ │ ■ │ ■ │ ■ │ ■ ├───┤     ├─────────┤
//!   the start     └───┴───┴───┴───┴───┴───┘   ├────▶│ thief 1 │ core 1
//!                                             │     ├─────────┤
//!                                             └────▶│   ...   │ core 0, 1, ...
//!                                                   └─────────┘
//! ```
//! Thieves take one at a time until the pool is empty; only that is timed. Then it is filled
//! again. With more thieves than cores the figure is the kernel's more than the queue's.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::deque;
use crossbeam::queue::ArrayQueue;
use taskyard_dispatcher::{Injector, Stealer, pool};

use super::course::{Gate, Patience, pin};
use super::race::{Race, Rival, Runner};
use super::tally::{Item, Tally, item};
use crate::error::Error;

const CAPACITY: u64 = 4096;
const THIEVES: [usize; 5] = [1, 2, 4, 8, 16];
/// Goal: no more than this, compared with each rival that is bounded and allocates nothing.
const GOAL: f64 = 1.05;

/// One race per number of thieves.
pub(super) fn races(items: u64) -> Vec<Race> {
    // Whole fillings, so that each is as long as the last.
    let items = items.next_multiple_of(CAPACITY);
    THIEVES
        .into_iter()
        .map(|thieves| {
            let goal = (thieves <= 2).then_some(GOAL);
            Race {
                name: format!("pool, {thieves} thieves"),
                items,
                ours: Runner::new("ours", move |items| lap(ours(), thieves, items)),
                rivals: vec![
                    Rival::new("ArrayQueue", move |items| lap(array(), thieves, items))
                        .with_goal(goal),
                    Rival::new("st3", move |items| lap(st3_queue(), thieves, items))
                        .with_goal(goal),
                    // Unbounded, and it allocates: shown, but no goal.
                    Rival::new("deque Injector", move |items| {
                        lap(injector(), thieves, items)
                    }),
                ],
            }
        })
        .collect()
}

/// The end that is filled.
trait Fill: Send {
    fn fill(&mut self, item: Item) -> bool;
}

/// The end of one thief.
trait Thief: Send {
    /// One more like this.
    fn another(&self) -> Self;

    /// `None`: it is empty. A race that was lost is run again.
    fn take(&mut self) -> Option<Item>;
}

fn lap<F: Fill, T: Thief>(
    (mut fill, mut thief): (F, T),
    thieves: usize,
    items: u64,
) -> Result<Duration, Error> {
    let gate = Gate::new(thieves);
    let fillings = items / CAPACITY;
    let (tally, took) = thread::scope(|scope| {
        let others: Vec<_> = (1..thieves)
            .map(|number| {
                let (mut thief, gate) = (thief.another(), &gate);
                scope.spawn(move || {
                    pin(number);
                    let mut tally = Tally::default();
                    for _ in 0..fillings {
                        gate.pass();
                        empty(&mut thief, &mut tally);
                        gate.pass();
                    }
                    tally
                })
            })
            .collect();
        let first = scope.spawn(|| {
            pin(0);
            let (mut tally, mut took) = (Tally::default(), Duration::ZERO);
            for filling in 0..fillings {
                for number in filling * CAPACITY..(filling + 1) * CAPACITY {
                    assert!(fill.fill(item(number)), "it has room for a filling");
                }
                gate.pass();
                let start = Instant::now();
                empty(&mut thief, &mut tally);
                gate.pass();
                took += start.elapsed();
            }
            (tally, took)
        });
        let (mut tally, took) = first.join().expect("counting does not panic");
        for other in others {
            tally.add(other.join().expect("counting does not panic"));
        }
        (tally, took)
    });
    tally.check("pool", items)?;
    Ok(took)
}

#[inline]
fn empty(thief: &mut impl Thief, tally: &mut Tally) {
    while let Some(item) = thief.take() {
        tally.take(item);
    }
}

fn ours() -> (Injector<Item>, Stealer<Item>) {
    pool(CAPACITY as usize)
}

impl Fill for Injector<Item> {
    fn fill(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Thief for Stealer<Item> {
    fn another(&self) -> Self {
        self.clone()
    }

    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.steal()
    }
}

fn array() -> (Arc<ArrayQueue<Item>>, Arc<ArrayQueue<Item>>) {
    let queue = Arc::new(ArrayQueue::new(CAPACITY as usize));
    (queue.clone(), queue)
}

impl Fill for Arc<ArrayQueue<Item>> {
    fn fill(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Thief for Arc<ArrayQueue<Item>> {
    fn another(&self) -> Self {
        self.clone()
    }

    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }
}

/// A thief of `st3` steals into a queue of its own, from which it takes.
struct St3Thief {
    stealer: st3::fifo::Stealer<Item>,
    own: st3::fifo::Worker<Item>,
}

fn st3_queue() -> (st3::fifo::Worker<Item>, St3Thief) {
    let worker = st3::fifo::Worker::new(CAPACITY as usize);
    let stealer = worker.stealer();
    let own = st3::fifo::Worker::new(2);
    (worker, St3Thief { stealer, own })
}

impl Fill for st3::fifo::Worker<Item> {
    fn fill(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Thief for St3Thief {
    fn another(&self) -> Self {
        Self {
            stealer: self.stealer.clone(),
            own: st3::fifo::Worker::new(2),
        }
    }

    #[inline]
    fn take(&mut self) -> Option<Item> {
        let mut patience = Patience::default();
        loop {
            match self.stealer.steal_and_pop(&self.own, |_| 1) {
                Ok((item, _)) => return Some(item),
                Err(st3::StealError::Empty) => return None,
                // Its protocol allows one thief at a time.
                Err(st3::StealError::Busy) => patience.wait(),
            }
        }
    }
}

fn injector() -> (Arc<deque::Injector<Item>>, Arc<deque::Injector<Item>>) {
    let queue = Arc::new(deque::Injector::new());
    (queue.clone(), queue)
}

impl Fill for Arc<deque::Injector<Item>> {
    fn fill(&mut self, item: Item) -> bool {
        self.push(item);
        true
    }
}

impl Thief for Arc<deque::Injector<Item>> {
    fn another(&self) -> Self {
        self.clone()
    }

    #[inline]
    fn take(&mut self) -> Option<Item> {
        let mut patience = Patience::default();
        loop {
            match self.steal() {
                deque::Steal::Success(item) => return Some(item),
                deque::Steal::Empty => return None,
                deque::Steal::Retry => patience.wait(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the seventh item and gives it to nobody.
    struct Dropping(Stealer<Item>, u32);

    impl Thief for Dropping {
        fn another(&self) -> Self {
            Self(self.0.clone(), 0)
        }

        fn take(&mut self) -> Option<Item> {
            self.1 += 1;
            if self.1 == 7 {
                let _lost = self.0.steal();
            }
            self.0.steal()
        }
    }

    #[test]
    fn an_item_that_is_lost_fails_the_lap() {
        let (injector, stealer) = ours();
        let lossy = Dropping(stealer, 0);
        assert!(lap((injector, lossy), 2, CAPACITY).is_err());
    }

    #[test]
    fn every_runner_conserves_the_items() {
        for race in races(CAPACITY) {
            assert!(race.run(1).is_ok());
        }
    }
}
