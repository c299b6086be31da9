//! Claim against revoke on the claim words, and the same with a lock per slot.
//!
//! ```text
//!   core 0                  1024 slots, all published                 core 1
//!  ┌───────┐   revokes     ┌───┬───┬───┬───┬───┬───┬───┬───┐  claims ┌──────────┐
//!  │ owner ├──────────────▶│ ○ │ ○ │   │   │   │   │ ● │ ● │◀────────┤ claimant │
//!  └───────┘  from here    └───┴───┴───┴───┴───┴───┴───┴───┘ from here └────────┘
//! ```
//! Both go over *all* slots, so they meet in the middle, and each slot is had by exactly one of
//! them. Time runs from the common start until both are through.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::{Revoked, Stamp, WorkerId};
use taskyard_dispatcher::{TaskClaimant, TaskOwner, task_table};

use super::course::{Gate, pin};
use super::race::{Race, Rival, Runner};
use super::tally::{Bytes, Item, Tally, item, item_of, payload};
use crate::error::Error;

const SLOTS: u64 = 1024;

/// One race.
pub(super) fn races(items: u64) -> Vec<Race> {
    let locked = |items| {
        let slots: Arc<[_]> = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        lap(Locks(slots.clone()), Locks(slots), items)
    };
    vec![Race {
        name: "claim and revoke".into(),
        items: items.next_multiple_of(SLOTS),
        ours: Runner::new("ours", |items| {
            let (owner, claimant) = task_table::<Bytes>(SLOTS as usize);
            lap(owner, claimant, items)
        }),
        rivals: vec![Rival::new("Mutex per slot", locked)],
    }]
}

/// Who publishes tasks, and may want one back.
trait Owner: Send {
    fn publish_item(&mut self, index: u32, number: u64);
    /// `true`: nobody has it, nor will.
    fn revoke_item(&mut self, index: u32, number: u64) -> bool;
}

/// Who may have a task.
trait Claimant: Send {
    fn claim_item(&mut self, index: u32, number: u64) -> Option<Item>;
}

fn lap(mut owner: impl Owner, claimant: impl Claimant, items: u64) -> Result<Duration, Error> {
    let gate = Gate::new(2);
    let (gate, rounds) = (&gate, items / SLOTS);
    let (tally, took) = thread::scope(|scope| {
        let claiming = scope.spawn(move || claim_all(claimant, rounds, gate));
        let revoking = scope.spawn(move || {
            pin(0);
            let (mut revoked, mut took) = (Tally::default(), Duration::ZERO);
            for round in 0..rounds {
                for index in 0..SLOTS {
                    owner.publish_item(index as u32, round * SLOTS + index);
                }
                gate.pass();
                let start = Instant::now();
                for index in 0..SLOTS {
                    let number = round * SLOTS + index;
                    if owner.revoke_item(index as u32, number) {
                        revoked.take(item(number));
                    }
                }
                gate.pass();
                took += start.elapsed();
            }
            (revoked, took)
        });
        let (mut tally, took) = revoking.join().expect("revoking does not panic");
        tally.add(claiming.join().expect("claiming does not panic"));
        (tally, took)
    });
    tally.check("claim", items)?;
    Ok(took)
}

fn claim_all(mut claimant: impl Claimant, rounds: u64, gate: &Gate) -> Tally {
    pin(1);
    let mut claimed = Tally::default();
    for round in 0..rounds {
        gate.pass();
        for index in (0..SLOTS).rev() {
            if let Some(item) = claimant.claim_item(index as u32, round * SLOTS + index) {
                claimed.take(item);
            }
        }
        gate.pass();
    }
    claimed
}

/// Stamps of a slot only grow; 0 is that of no publish.
const fn stamp(number: u64) -> Stamp {
    Stamp(number + 1)
}

impl Owner for TaskOwner<Bytes> {
    fn publish_item(&mut self, index: u32, number: u64) {
        self.put(index, payload(number));
        self.publish(index, stamp(number));
    }

    #[inline]
    fn revoke_item(&mut self, index: u32, number: u64) -> bool {
        self.revoke(index, stamp(number)) == Revoked::Won
    }
}

impl Claimant for TaskClaimant<Bytes> {
    #[inline]
    fn claim_item(&mut self, index: u32, number: u64) -> Option<Item> {
        let payload = self.claim(index, stamp(number), WorkerId(7))?;
        Some(item_of(&payload))
    }
}

/// What one would write first.
struct Locks(Arc<[Mutex<Option<Item>>]>);

impl Locks {
    #[inline]
    fn take(&self, index: u32, number: u64) -> Option<Item> {
        let mut slot = self.0[index as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|item| item[0] == number)
    }
}

impl Owner for Locks {
    fn publish_item(&mut self, index: u32, number: u64) {
        let mut slot = self.0[index as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(item(number));
    }

    #[inline]
    fn revoke_item(&mut self, index: u32, number: u64) -> bool {
        self.take(index, number).is_some()
    }
}

impl Claimant for Locks {
    #[inline]
    fn claim_item(&mut self, index: u32, number: u64) -> Option<Item> {
        self.take(index, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that it has revoked whatever it was asked for.
    struct Greedy(Locks);

    impl Owner for Greedy {
        fn publish_item(&mut self, index: u32, number: u64) {
            self.0.publish_item(index, number);
        }

        fn revoke_item(&mut self, _: u32, _: u64) -> bool {
            true
        }
    }

    #[test]
    fn a_task_that_both_have_fails_the_lap() {
        let slots: Arc<[_]> = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        let owner = Greedy(Locks(slots.clone()));
        assert!(lap(owner, Locks(slots), SLOTS).is_err());
    }

    #[test]
    fn each_task_is_had_by_one() {
        for race in races(10 * SLOTS) {
            assert!(race.run(1).is_ok());
        }
    }
}
