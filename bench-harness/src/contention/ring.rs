//! The ring against other queues from one thread to one other.
//!
//! ```text
//!   core 0                 1024 items of 24 bytes                core 1
//!  ┌──────────┐    ┌───┬───┬───┬───┬───┬───┬───┬───┐    ┌──────────┐
//!  │ producer ├───▶│   │   │ ■ │ ■ │ ■ │ ■ │   │   ├───▶│ consumer │  sums up
//!  └──────────┘    └───┴───┴───┴───┴───┴───┴───┴───┘    └──────────┘
//! ```
//! Time runs from the common start until the last item is taken. Who cannot go on spins.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use taskyard_dispatcher::{Consumer, Producer, ring};

use super::course::{Gate, Patience, pin};
use super::race::{Race, Rival, Runner};
use super::tally::{Item, Tally, item};
use crate::error::Error;

pub(super) const CAPACITY: usize = 1024;
/// Items of a batch.
const BATCH: usize = 32;
/// Goal: no more than this, compared with the best ring there is.
const GOAL: f64 = 1.05;

/// One item at a time, and in batches.
pub(super) fn races(items: u64) -> Vec<Race> {
    let single = Race {
        name: "ring, one at a time".into(),
        items,
        ours: Runner::new("ours", |items| lap(ring(CAPACITY), items, Pace::Single)),
        rivals: vec![
            Rival::new("rtrb", |items| lap(rtrb_ring(), items, Pace::Single)).with_goal(Some(GOAL)),
            Rival::new("ArrayQueue", |items| lap(array(), items, Pace::Single)),
            Rival::new("mpsc", |items| {
                lap(sync_channel(CAPACITY), items, Pace::Single)
            }),
        ],
    };
    let batches = Race {
        name: format!("ring, batches of {BATCH}"),
        items,
        ours: Runner::new("ours", |items| lap(ring(CAPACITY), items, Pace::Batches)),
        rivals: vec![
            Rival::new("rtrb chunks", |items| {
                lap(rtrb_ring(), items, Pace::Batches)
            })
            .with_goal(Some(GOAL)),
            Rival::new("ArrayQueue", |items| lap(array(), items, Pace::Batches)),
            Rival::new("mpsc", |items| {
                lap(sync_channel(CAPACITY), items, Pace::Batches)
            }),
        ],
    };
    vec![single, batches]
}

#[derive(Clone, Copy)]
enum Pace {
    Single,
    Batches,
}

/// The writing end of a queue.
trait Put: Send {
    /// `false`: it is full.
    fn put(&mut self, item: Item) -> bool;

    /// How many of these items, in order, it took.
    #[inline]
    fn put_batch(&mut self, items: &[Item]) -> usize {
        items.iter().take_while(|item| self.put(**item)).count()
    }
}

/// The reading end of a queue.
trait Take: Send {
    fn take(&mut self) -> Option<Item>;

    /// Takes at most a batch; how many.
    #[inline]
    fn take_batch(&mut self, tally: &mut Tally) -> usize {
        let before = tally.count;
        while tally.count - before < BATCH as u64
            && let Some(item) = self.take()
        {
            tally.take_in_order(item);
        }
        (tally.count - before) as usize
    }
}

fn lap<P: Put, T: Take>(
    (producer, consumer): (P, T),
    items: u64,
    pace: Pace,
) -> Result<Duration, Error> {
    let gate = Gate::new(2);
    let (tally, took) = thread::scope(|scope| {
        scope.spawn(|| {
            pin(0);
            gate.pass();
            produce(producer, items, pace);
        });
        let consuming = scope.spawn(|| {
            pin(1);
            gate.pass();
            let start = Instant::now();
            (consume(consumer, items, pace), start.elapsed())
        });
        consuming.join().expect("counting does not panic")
    });
    tally.check("ring", items)?;
    Ok(took)
}

fn produce(mut producer: impl Put, items: u64, pace: Pace) {
    let mut patience = Patience::default();
    match pace {
        Pace::Single => {
            for number in 0..items {
                while !producer.put(item(number)) {
                    patience.wait();
                }
            }
        }
        Pace::Batches => {
            let mut next = 0;
            while next < items {
                let length = (items - next).min(BATCH as u64) as usize;
                let batch: [Item; BATCH] = std::array::from_fn(|index| item(next + index as u64));
                match producer.put_batch(&batch[..length]) {
                    0 => patience.wait(),
                    taken => next += taken as u64,
                }
            }
        }
    }
}

fn consume(mut consumer: impl Take, items: u64, pace: Pace) -> Tally {
    let mut tally = Tally::default();
    let mut patience = Patience::default();
    while tally.count < items {
        let taken = match pace {
            Pace::Single => consumer
                .take()
                .map(|item| tally.take_in_order(item))
                .is_some(),
            Pace::Batches => consumer.take_batch(&mut tally) > 0,
        };
        if !taken {
            patience.wait();
        }
    }
    tally
}

impl Put for Producer<Item> {
    #[inline]
    fn put(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }

    #[inline]
    fn put_batch(&mut self, items: &[Item]) -> usize {
        self.push_batch(&mut items.iter().copied())
    }
}

impl Take for Consumer<Item> {
    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }

    #[inline]
    fn take_batch(&mut self, tally: &mut Tally) -> usize {
        self.pop_batch(BATCH, |item| tally.take_in_order(item))
    }
}

fn rtrb_ring() -> (rtrb::Producer<Item>, rtrb::Consumer<Item>) {
    rtrb::RingBuffer::new(CAPACITY)
}

impl Put for rtrb::Producer<Item> {
    #[inline]
    fn put(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }

    #[inline]
    fn put_batch(&mut self, items: &[Item]) -> usize {
        self.push_partial_slice(items).0.len()
    }
}

impl Take for rtrb::Consumer<Item> {
    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.pop().ok()
    }

    #[inline]
    fn take_batch(&mut self, tally: &mut Tally) -> usize {
        let there = self.slots().min(BATCH);
        let chunk = self.read_chunk(there).expect("so many are there");
        chunk.into_iter().for_each(|item| tally.take_in_order(item));
        there
    }
}

fn array() -> (Arc<ArrayQueue<Item>>, Arc<ArrayQueue<Item>>) {
    let queue = Arc::new(ArrayQueue::new(CAPACITY));
    (queue.clone(), queue)
}

impl Put for Arc<ArrayQueue<Item>> {
    #[inline]
    fn put(&mut self, item: Item) -> bool {
        self.push(item).is_ok()
    }
}

impl Take for Arc<ArrayQueue<Item>> {
    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }
}

impl Put for SyncSender<Item> {
    #[inline]
    fn put(&mut self, item: Item) -> bool {
        self.try_send(item).is_ok()
    }
}

impl Take for Receiver<Item> {
    #[inline]
    fn take(&mut self) -> Option<Item> {
        self.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loses one item.
    struct Leaky(Producer<Item>, u64);

    impl Put for Leaky {
        fn put(&mut self, item: Item) -> bool {
            self.1 += 1;
            self.1 == 5 || self.0.push(item).is_ok()
        }
    }

    /// Gives the first item twice.
    struct Doubling(Consumer<Item>, Option<Item>);

    impl Take for Doubling {
        fn take(&mut self) -> Option<Item> {
            let item = self.0.pop()?;
            Some(self.1.replace(item).unwrap_or(item))
        }
    }

    #[test]
    fn an_item_that_is_lost_or_doubled_fails_the_lap() {
        let (producer, consumer) = ring(8);
        let lossy = Leaky(producer, 0);
        // The consumer waits for as many as were sent, so one more follows the lost one.
        let (tally, ()) = thread::scope(|scope| {
            let consuming = scope.spawn(|| consume(consumer, 99, Pace::Single));
            produce(lossy, 100, Pace::Single);
            (consuming.join().unwrap(), ())
        });
        assert!(tally.check("leaky", 99).is_err());

        let (producer, consumer) = ring(8);
        let doubling = Doubling(consumer, None);
        assert!(lap((producer, doubling), 100, Pace::Single).is_err());
    }

    #[test]
    fn every_runner_brings_all_items_over() {
        for race in races(10_000) {
            assert!(race.run(1).is_ok());
        }
    }
}
