//! Who has a task: one word per slot, on which a claim and a revoke race.
//!
//! An envelope in a mailbox or in the pool cannot be taken back: the thread that reads the ring may
//! be about to pop it. So withdrawing a task leaves its envelope where it is and changes the *word*
//! of the task's slot. Whoever pops the envelope, a *tombstone* now, fails to claim it and goes on.
//!
//! # The word
//!
//! ```text
//!  63                       24 23      16 15           0
//! ┌───────────────────────────┬──────────┬──────────────┐
//! │ stamp of the last publish │  phase   │ the claimant │
//! └───────────────────────────┴──────────┴──────────────┘
//!
//!         put            publish          claim             left
//!  Empty ─────▶ Idle ─────────────▶ Queued ──────▶ Reading ──────▶ Started
//!                ▲                   │  ▲                            │
//!                └──────revoke───────┘  └──────────publish───────────┘
//!
//!  Idle, Started ──take──▶ Empty         Started ──put──▶ Idle
//! ```
//!
//! # Protocol
//!
//! The *owner* is the dispatcher's thread, the only one that puts, takes, publishes and revokes. A
//! *claimant* is any thread that pops envelopes.
//!
//! | owner | claimant |
//! | --- | --- |
//! | O1 touch the payload only after a load (Acquire) shows a settled phase | C1 compare-and-swap `Queued(stamp)` to `Reading` (Acquire); failed: a tombstone |
//! | O2 publish: store `Queued(stamp)` with a new stamp (Release) | C2 share the payload |
//! | O3 revoke: compare-and-swap `Queued(stamp)` to `Idle(stamp)` | C3 store `Started` (Release) |
//!
//! Settled are `Empty`, `Idle` and `Started`: in them no claimant may act, and only the owner
//! changes the word. Hence plain stores suffice for O2 and for put and take.
//!
//! **The races to avoid:** a task that is both withdrawn and started; an envelope that claims a
//! later publish, be it of the slot's next task or of the same one; the owner and a claimant at
//! one payload. **Why they cannot be:** C1 and O3 are swaps of one word from one value, so one of
//! them wins. Stamps grow with every publish of the slot and are never reset, and an envelope
//! carries its own, so after O3 nothing equals it again (40 bits: a slot published a thousand
//! times a second repeats after 34 years). From C1 to C3 the phase is `Reading`, in which O1 stops
//! the owner; it goes on after C3, with which O1 pairs, so after C2. Between two claimants lies a
//! publish, O2 pairs with C1, and the owner published only after O1.

use taskyard_core::{Revoked, Stamp, WorkerId};

use crate::sync::{AtomicU64, Ordering, ordering, zeroed_table};

/// How far a task has come, as its word tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No payload is stored. Zero, so that a fresh table is untouched memory.
    Empty,
    /// A payload is stored, and no envelope can claim it.
    Idle,
    /// An envelope can claim it.
    Queued,
    /// A claimant is at the payload.
    Reading,
    /// A claimant has its share.
    Started,
}

impl Phase {
    /// Whether the owner alone may act.
    pub(crate) const fn is_settled(self) -> bool {
        matches!(self, Self::Empty | Self::Idle | Self::Started)
    }
}

/// The content of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    stamp: Stamp,
    phase: Phase,
    /// Who claimed it: in the phases `Reading` and `Started`.
    claimant: u16,
}

impl Word {
    const CLAIMANT_BITS: u32 = 16;
    const PHASE_BITS: u32 = 8;
    const STAMP_SHIFT: u32 = Self::CLAIMANT_BITS + Self::PHASE_BITS;

    const fn queued(stamp: Stamp) -> Self {
        Self {
            stamp,
            phase: Phase::Queued,
            claimant: 0,
        }
    }

    const fn pack(self) -> u64 {
        (self.stamp.0 << Self::STAMP_SHIFT)
            | ((self.phase as u64) << Self::CLAIMANT_BITS)
            | self.claimant as u64
    }

    fn unpack(bits: u64) -> Self {
        let phase = match (bits >> Self::CLAIMANT_BITS) as u8 {
            0 => Phase::Empty,
            1 => Phase::Idle,
            2 => Phase::Queued,
            3 => Phase::Reading,
            4 => Phase::Started,
            other => unreachable!("only this file writes words, and never phase {other}"),
        };
        Self {
            stamp: Stamp(bits >> Self::STAMP_SHIFT),
            phase,
            claimant: bits as u16,
        }
    }
}

const _: () = assert!(
    Word::STAMP_SHIFT + Stamp::BITS == u64::BITS,
    "a word is full"
);

/// One word per slot of the slab.
#[derive(Debug)]
pub(crate) struct ClaimTable {
    /// Written by the owner, and by claimants between `Queued` and `Started`; read by both. A copy
    /// that shows a settled phase is not stale for the owner; any other may be.
    words: Box<[AtomicU64]>,
}

/// What every thread may do.
impl ClaimTable {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            words: zeroed_table(slots),
        }
    }

    /// Starts the task, if its envelope still counts. Exactly one of all claims and revokes of one
    /// publish succeeds.
    ///
    /// While the [`Reading`] lives, nobody else touches the payload.
    pub(crate) fn claim(&self, index: u32, stamp: Stamp, worker: WorkerId) -> Option<Reading<'_>> {
        let word = self.word(index);
        let claimant = u16::try_from(worker.0).expect("worker indices have 16 bits");
        let reading = Word {
            stamp,
            phase: Phase::Reading,
            claimant,
        };
        // Ordering: Acquire, pairs with the Release in `publish`: the payload is stored, and
        // earlier claimants have left it. Canary: claim.win
        word.compare_exchange(
            Word::queued(stamp).pack(),
            reading.pack(),
            ordering!("claim.win", Acquire),
            Ordering::Relaxed,
        )
        .ok()
        .map(|_| Reading {
            word,
            started: Word {
                phase: Phase::Started,
                ..reading
            },
        })
    }

    fn word(&self, index: u32) -> &AtomicU64 {
        &self.words[index as usize]
    }
}

/// What only the owner may do: one thread at a time, each ordered after the last.
impl ClaimTable {
    /// The phase. If it is settled, it stays until the owner changes it, and whatever a claimant
    /// did to the payload lies behind.
    pub(crate) fn phase(&self, index: u32) -> Phase {
        // Ordering: Acquire, pairs with the Release in `Reading::drop`: the claimant has left the
        // payload. Canary: claim.settle
        let bits = self.word(index).load(ordering!("claim.settle", Acquire));
        Word::unpack(bits).phase
    }

    /// Who has claimed the slot's last publish.
    pub(crate) fn claimed_by(&self, index: u32) -> Option<WorkerId> {
        // Relaxed: the number is all that is asked for.
        let word = Word::unpack(self.word(index).load(Ordering::Relaxed));
        matches!(word.phase, Phase::Reading | Phase::Started)
            .then(|| WorkerId(word.claimant.into()))
    }

    /// Notes, in a settled slot, whether there is a payload; the stamp stays.
    pub(crate) fn settle(&self, index: u32, phase: Phase) {
        debug_assert!(
            phase.is_settled(),
            "only claims and publishes lead out of rest"
        );
        let word = self.word(index);
        let before = Word::unpack(word.load(Ordering::Relaxed));
        debug_assert!(
            before.phase.is_settled(),
            "only the owner changes a settled word"
        );
        // Relaxed: no claimant acts on these phases.
        word.store(Word { phase, ..before }.pack(), Ordering::Relaxed);
    }

    /// Makes a task claimable, under a stamp that its slot has never had.
    ///
    /// # Panics
    /// The slot is not settled, has no payload, or has had the stamp or a later one.
    pub(crate) fn publish(&self, index: u32, stamp: Stamp) {
        let phase = self.phase(index);
        assert!(
            phase.is_settled(),
            "slot {index} is published while it is {phase:?}"
        );
        assert!(
            phase != Phase::Empty,
            "slot {index} is published without a payload"
        );
        let word = self.word(index);
        let before = word.load(Ordering::Relaxed);
        assert!(
            stamp.0 >> Stamp::BITS == 0,
            "{stamp:?} does not fit in a word"
        );
        assert!(
            is_newer(stamp, before),
            "slot {index} has had {stamp:?} before"
        );
        // Ordering: Release, pairs with the Acquire in `claim`. Canary: claim.publish
        word.store(
            Word::queued(stamp).pack(),
            ordering!("claim.publish", Release),
        );
    }

    /// Withdraws a task, if nobody has claimed this publish of it.
    pub(crate) fn revoke(&self, index: u32, stamp: Stamp) -> Revoked {
        let idle = Word {
            phase: Phase::Idle,
            ..Word::queued(stamp)
        };
        // Relaxed: a winner finds what it stored itself; a loser learns only that somebody is at
        // the payload, and comes to it by `phase`.
        let swapped = self.word(index).compare_exchange(
            Word::queued(stamp).pack(),
            idle.pack(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if swapped.is_ok() {
            Revoked::Won
        } else {
            Revoked::Lost
        }
    }
}

/// Whether a stamp was given after the one in this word. The first one of a slot is 1.
fn is_newer(stamp: Stamp, word: u64) -> bool {
    let before = Word::unpack(word).stamp;
    let age = stamp.0.wrapping_sub(before.0) & ((1 << Stamp::BITS) - 1);
    // Forward by less than half of all stamps, so that 40 bits may wrap.
    (1..1 << (Stamp::BITS - 1)).contains(&age)
}

/// A claimant's exclusive stay at a payload. It ends, also by a panic, with the task started.
#[derive(Debug)]
pub(crate) struct Reading<'table> {
    word: &'table AtomicU64,
    started: Word,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // Ordering: Release, pairs with the Acquire in `ClaimTable::phase`: who sees that the task
        // is started finds the payload left. Canary: claim.leave
        self.word
            .store(self.started.pack(), ordering!("claim.leave", Release));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP_MAX: u64 = (1 << Stamp::BITS) - 1;
    const WORKER: WorkerId = WorkerId(3);

    fn table() -> ClaimTable {
        let table = ClaimTable::new(2);
        table.settle(0, Phase::Idle);
        table
    }

    #[test]
    fn words_survive_packing() {
        use Phase::{Empty, Idle, Queued, Reading, Started};
        for stamp in [0, 1, 0x12_3456_789a, STAMP_MAX].map(Stamp) {
            for phase in [Empty, Idle, Queued, Reading, Started] {
                for claimant in [0, 1, 0xabc, u16::MAX] {
                    let word = Word {
                        stamp,
                        phase,
                        claimant,
                    };
                    assert_eq!(Word::unpack(word.pack()), word);
                }
            }
        }
        assert_eq!(Word::unpack(0).phase, Empty, "a fresh table is zero");
    }

    #[test]
    fn an_envelope_is_claimed_or_revoked_once() {
        let table = table();
        table.publish(0, Stamp(1));
        assert_eq!(table.revoke(0, Stamp(1)), Revoked::Won);
        assert_eq!(table.revoke(0, Stamp(1)), Revoked::Lost);
        assert!(table.claim(0, Stamp(1), WORKER).is_none());

        table.publish(0, Stamp(2));
        assert!(table.claim(0, Stamp(1), WORKER).is_none(), "a tombstone");
        let reading = table.claim(0, Stamp(2), WORKER).unwrap();
        assert_eq!(table.phase(0), Phase::Reading);
        assert_eq!(table.revoke(0, Stamp(2)), Revoked::Lost);
        drop(reading);
        assert_eq!(table.phase(0), Phase::Started);
        assert!(
            table.claim(0, Stamp(2), WORKER).is_none(),
            "claimed already"
        );
        assert_eq!(table.claimed_by(0), Some(WORKER));

        table.publish(0, Stamp(3));
        assert_eq!(table.claimed_by(0), None);
    }

    #[test]
    fn a_stamp_stays_over_the_tenants_of_its_slot() {
        let table = table();
        table.publish(0, Stamp(1));
        assert_eq!(table.revoke(0, Stamp(1)), Revoked::Won);
        table.settle(0, Phase::Empty);
        table.settle(0, Phase::Idle);
        assert!(table.claim(0, Stamp(1), WORKER).is_none());
        let again = std::panic::catch_unwind(|| table.publish(0, Stamp(1)));
        assert!(again.is_err(), "the same stamp for another tenant");
        table.publish(0, Stamp(2));
    }

    #[test]
    fn newer_is_half_of_all_stamps_ahead() {
        let after = |stamp| move |next| is_newer(Stamp(next), Word::queued(Stamp(stamp)).pack());
        assert!(!after(0)(0));
        assert!(after(0)(1));
        assert!(!after(7)(7));
        assert!(!after(7)(6));
        assert!(after(STAMP_MAX)(0), "over the wrap");
        assert!(!after(0)(STAMP_MAX));
    }

    #[test]
    #[should_panic(expected = "without a payload")]
    fn an_empty_slot_is_not_published() {
        table().publish(1, Stamp(1));
    }

    #[test]
    #[should_panic(expected = "while it is Queued")]
    fn a_queued_task_is_not_published_again() {
        let table = table();
        table.publish(0, Stamp(1));
        table.publish(0, Stamp(2));
    }
}
