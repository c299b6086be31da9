//! Payloads, and the table in which they wait while their tasks are queued.
//!
//! A payload stays in its slot from the submit to the outcome: envelopes carry no bytes, a
//! tombstone pins none, and a re-offer copies none. The dispatcher's thread *owns* the table; a
//! thread that pops an envelope is a *claimant*, and may look at the payload of the task that it
//! claims, until it has its own share. Which of them may touch a slot is decided by the slot's
//! word alone, as `claim.rs` says: **nothing that a caller does or forgets can break it**, wrong
//! indices, old stamps and repeated calls included; what would is an assertion.
//!
//! # Protocol
//!
//! That of `claim.rs`, whose O1 and C2 are here: [`TaskOwner`] asks for a settled phase before it
//! comes near a cell, and [`TaskClaimant::claim`] holds the phase at `Reading` while it shares.
//! **The race to avoid:** two threads at one payload, one of which drops it. **Why it cannot be:**
//! see there; it rests on the orderings `claim.*` and on nothing in this file. A share that panics
//! still ends the stay, so the owner is never locked out.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc as StdArc;

use arrayvec::ArrayVec;
use taskyard_core::{Revoked, Stamp, WorkerId};

use crate::claim::{ClaimTable, Phase};
use crate::ring::untouched_cells;
use crate::sync::{Arc, UnsafeCell};

/// What a task carries: frames of bytes, which nobody between the two endpoints looks into.
///
/// A payload is read-only, since it may be shared between re-runs and the parts of a multicast.
///
/// ```
/// use taskyard_dispatcher::Payload;
/// let payload = *b"four";
/// assert_eq!(payload.frame_count(), 1);
/// assert_eq!(payload.share().frame(0), Some(&b"four"[..]));
/// assert_eq!(payload.frame(1), None);
/// ```
pub trait Payload: Send + 'static {
    /// How many frames it has: 1 to 64.
    fn frame_count(&self) -> usize;

    /// The bytes of one frame, if there are so many.
    fn frame(&self, index: usize) -> Option<&[u8]>;

    /// A second payload with the same frames: a copy of few bytes, or one more reference to many.
    ///
    /// It is called on the hot path, so it must not allocate. It is never called by two threads at
    /// a time for one payload.
    #[must_use]
    fn share(&self) -> Self;
}

/// Bytes of all frames together. The models of the claim have no use for it.
#[cfg(not(loom))]
pub(crate) fn payload_len<P: Payload>(payload: &P) -> usize {
    let frames = (0..payload.frame_count()).filter_map(|frame| payload.frame(frame));
    frames.map(<[u8]>::len).sum()
}

impl<const N: usize> Payload for [u8; N] {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then_some(self)
    }

    fn share(&self) -> Self {
        *self
    }
}

impl<const N: usize> Payload for ArrayVec<u8, N> {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then_some(self)
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl Payload for StdArc<[u8]> {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then_some(self)
    }

    fn share(&self) -> Self {
        Self::clone(self)
    }
}

/// A table of `slots` payloads, all empty, with a claim word each.
///
/// It is not touched before it is used, so a large table costs address space, not memory.
///
/// ```
/// use taskyard_core::{Revoked, Stamp, WorkerId};
/// let (mut owner, claimant) = taskyard_dispatcher::task_table::<[u8; 3]>(8);
/// owner.put(5, *b"abc");
/// owner.publish(5, Stamp(1));
/// assert_eq!(owner.revoke(5, Stamp(1)), Revoked::Won);
/// assert_eq!(claimant.claim(5, Stamp(1), WorkerId(0)), None, "a tombstone");
///
/// owner.publish(5, Stamp(2));
/// assert_eq!(claimant.claim(5, Stamp(2), WorkerId(0)), Some(*b"abc"));
/// assert_eq!(owner.revoke(5, Stamp(2)), Revoked::Lost);
/// assert_eq!(owner.take(5), Some(*b"abc"));
/// ```
///
/// # Panics
/// There are more slots than 32 bits can number.
#[must_use]
pub fn task_table<P: Payload>(slots: usize) -> (TaskOwner<P>, TaskClaimant<P>) {
    assert!(
        u32::try_from(slots).is_ok(),
        "a table of {slots} slots is too large"
    );
    let shared = Arc::new(Shared {
        claims: ClaimTable::new(slots),
        cells: untouched_cells(slots),
    });
    (
        TaskOwner {
            shared: shared.clone(),
            not_sync: PhantomData,
        },
        TaskClaimant { shared },
    )
}

/// The dispatcher's end of a [`task_table`]: it stores payloads and makes tasks claimable.
///
/// ```compile_fail,E0599
/// let (owner, _claimant) = taskyard_dispatcher::task_table::<[u8; 1]>(1);
/// let second = owner.clone();
/// ```
///
/// # Panics
/// All methods panic if the table has no such slot. Those that touch a payload also panic while
/// the task is queued or a claimant is reading it: by the rules of the scheduler, a claimant has
/// reported before its slot is touched again, so this is a programmer's error.
/// [`is_settled`](Self::is_settled) is how to look first.
pub struct TaskOwner<P> {
    shared: Arc<Shared<P>>,
    not_sync: PhantomData<Cell<()>>,
}

impl<P: Payload> TaskOwner<P> {
    /// Stores a payload; what was there is dropped.
    pub fn put(&mut self, index: u32, payload: P) {
        drop(self.take(index));
        self.shared.cell(index).with_mut(|cell| {
            // SAFETY: `take` has found the slot settled and left it empty. In that phase no
            // claimant comes near it, and this is the one owner.
            unsafe { (*cell).write(payload) };
        });
        self.shared.claims.settle(index, Phase::Idle);
    }

    /// One more share of a stored payload, if there is one.
    #[must_use]
    pub fn share(&mut self, index: u32) -> Option<P> {
        (self.settled_phase(index) != Phase::Empty).then(|| {
            // SAFETY: the phase is settled and not empty, and this is the one owner.
            unsafe { self.shared.share(index) }
        })
    }

    /// Removes a stored payload, if there is one.
    pub fn take(&mut self, index: u32) -> Option<P> {
        if self.settled_phase(index) == Phase::Empty {
            return None;
        }
        self.shared.claims.settle(index, Phase::Empty);
        Some(self.shared.cell(index).with(|cell| {
            // SAFETY: the slot was settled and not empty, so it holds a payload and no claimant
            // comes near it. It is marked empty, so this is the last read.
            unsafe { (*cell).assume_init_read() }
        }))
    }

    /// Makes the task claimable by an envelope with this stamp, and by no earlier one.
    ///
    /// # Panics
    /// There is no payload, or the stamp does not come after the slot's last (the first is 1).
    pub fn publish(&mut self, index: u32, stamp: Stamp) {
        self.shared.claims.publish(index, stamp);
    }

    /// Withdraws the task, if this is its last publish and nobody has claimed it: its envelope is
    /// then a tombstone.
    pub fn revoke(&mut self, index: u32, stamp: Stamp) -> Revoked {
        self.shared.claims.revoke(index, stamp)
    }

    /// Whether the payload may be touched: the task is not queued, and no claimant is reading it.
    ///
    /// "No" may cease to be true at any moment, when a claimant has read. "Yes" stays true until
    /// this end publishes.
    #[must_use]
    pub fn is_settled(&self, index: u32) -> bool {
        self.shared.claims.phase(index).is_settled()
    }

    /// Who won the slot's last publish: the claimant, from its claim until the payload is put anew,
    /// taken or published.
    ///
    /// "Nobody" may cease to be true at any moment while the task is queued.
    #[must_use]
    pub fn claimed_by(&self, index: u32) -> Option<WorkerId> {
        self.shared.claims.claimed_by(index)
    }

    /// The phase, which is asserted to be settled: the licence to touch the payload.
    fn settled_phase(&self, index: u32) -> Phase {
        let phase = self.shared.claims.phase(index);
        assert!(
            phase.is_settled(),
            "the payload of slot {index} is touched while it is {phase:?}"
        );
        phase
    }
}

impl<P> fmt::Debug for TaskOwner<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskOwner")
            .field("slots", &self.shared.cells.len())
            .finish_non_exhaustive()
    }
}

/// An end of a [`task_table`] for a thread that pops envelopes; as many as there are such threads.
pub struct TaskClaimant<P> {
    shared: Arc<Shared<P>>,
}

impl<P: Payload> TaskClaimant<P> {
    /// Starts the task of an envelope for a worker, and gives its payload: or nothing if the
    /// envelope is a tombstone.
    ///
    /// # Panics
    /// The table has no such slot, or the worker's index has more than 16 bits. A panic of
    /// [`Payload::share`] leaves the task started.
    #[must_use]
    pub fn claim(&self, index: u32, stamp: Stamp, worker: WorkerId) -> Option<P> {
        let reading = self.shared.claims.claim(index, stamp, worker)?;
        // SAFETY: this thread won the claim, and `reading` lives.
        let payload = unsafe { self.shared.share(index) };
        drop(reading);
        Some(payload)
    }
}

impl<P> Clone for TaskClaimant<P> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<P> fmt::Debug for TaskClaimant<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskClaimant").finish_non_exhaustive()
    }
}

/// What all ends have in common. A cell holds a payload whenever its word's phase is not `Empty`.
struct Shared<P> {
    claims: ClaimTable,
    cells: Box<[UnsafeCell<MaybeUninit<P>>]>,
}

// SAFETY: a cell is reached only by the protocol of `claim.rs`, which lets one thread at a time
// touch it; payloads are `Send`. The claim table is atomic.
unsafe impl<P: Send> Sync for Shared<P> {}
// SAFETY: the payloads in the cells are `Send`, and so is all the rest.
unsafe impl<P: Send> Send for Shared<P> {}

impl<P> Shared<P> {
    fn cell(&self, index: u32) -> &UnsafeCell<MaybeUninit<P>> {
        &self.cells[index as usize]
    }
}

impl<P: Payload> Shared<P> {
    /// A share of the payload of this slot.
    ///
    /// # Safety
    /// The calling thread has the slot to itself: it is the owner and has found it settled and not
    /// empty, or it is a claimant whose [`Reading`](crate::claim::Reading) lives. (That nobody else
    /// reads either lets a payload do without `Sync`.)
    unsafe fn share(&self, index: u32) -> P {
        self.cell(index).with(|cell| {
            // SAFETY: by the caller's promise the cell is filled, and nobody writes to it.
            unsafe { (*cell).assume_init_ref().share() }
        })
    }
}

impl<P> Drop for Shared<P> {
    fn drop(&mut self) {
        for (index, cell) in (0..).zip(&self.cells) {
            if self.claims.phase(index) == Phase::Empty {
                continue;
            }
            cell.with_mut(|cell| {
                // SAFETY: a slot that is not empty holds a payload, and no end of the table is
                // left.
                unsafe { (*cell).assume_init_drop() };
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    const PUBLISHES: u64 = if cfg!(miri) { 100 } else { 100_000 };
    const WORKER: WorkerId = WorkerId(1);

    /// Counts who holds it; panics when shared, if told to.
    #[derive(Debug)]
    struct Counted {
        holders: StdArc<()>,
        is_brittle: bool,
    }

    impl Payload for Counted {
        fn frame_count(&self) -> usize {
            1
        }

        fn frame(&self, _index: usize) -> Option<&[u8]> {
            None
        }

        fn share(&self) -> Self {
            assert!(!self.is_brittle, "it broke");
            Self {
                holders: self.holders.clone(),
                is_brittle: false,
            }
        }
    }

    fn counted(is_brittle: bool) -> (StdArc<()>, Counted) {
        let holders = StdArc::new(());
        (
            holders.clone(),
            Counted {
                holders,
                is_brittle,
            },
        )
    }

    #[test]
    fn a_payload_is_stored_shared_and_taken() {
        let (mut owner, _claimant) = task_table::<Counted>(4);
        assert!(owner.take(3).is_none());
        assert!(owner.share(3).is_none());

        let (holders, payload) = counted(false);
        owner.put(3, payload);
        let share = owner.share(3).unwrap();
        assert_eq!(
            StdArc::strong_count(&holders),
            3,
            "ours, the table's, the share"
        );
        owner.put(3, share);
        assert_eq!(
            StdArc::strong_count(&holders),
            2,
            "the one before is dropped"
        );
        assert!(owner.take(3).is_some());
        assert!(owner.take(3).is_none());
        assert_eq!(StdArc::strong_count(&holders), 1);
    }

    #[test]
    fn payloads_are_dropped_with_the_table() {
        let (mut owner, claimant) = task_table(3);
        let (holders, payload) = counted(false);
        for index in 0..3 {
            owner.put(index, payload.share());
        }
        owner.publish(1, Stamp(1));
        owner.publish(2, Stamp(1));
        drop(claimant.claim(2, Stamp(1), WORKER).unwrap());
        drop(payload);
        drop(owner);
        assert_eq!(
            StdArc::strong_count(&holders),
            4,
            "a claimant keeps the table"
        );
        drop(claimant);
        assert_eq!(StdArc::strong_count(&holders), 1);
    }

    #[test]
    fn a_queued_payload_is_out_of_reach() {
        let (mut owner, claimant) = task_table(1);
        owner.put(0, *b"x");
        owner.publish(0, Stamp(1));
        assert!(!owner.is_settled(0));
        assert!(catch_unwind(AssertUnwindSafe(|| owner.take(0))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| owner.share(0))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| owner.put(0, *b"y"))).is_err());
        assert_eq!(claimant.claim(0, Stamp(1), WORKER), Some(*b"x"));
        assert!(owner.is_settled(0));
        assert_eq!(owner.take(0), Some(*b"x"));
    }

    #[test]
    fn a_slot_that_is_not_there_is_an_error() {
        let (mut owner, claimant) = task_table::<[u8; 1]>(1);
        assert!(catch_unwind(AssertUnwindSafe(|| owner.put(1, [0]))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| claimant.claim(1, Stamp(1), WORKER))).is_err());
    }

    #[test]
    fn a_share_that_panics_leaves_the_task_started() {
        let (mut owner, claimant) = task_table(1);
        let (holders, payload) = counted(true);
        owner.put(0, payload);
        owner.publish(0, Stamp(1));
        assert!(catch_unwind(AssertUnwindSafe(|| claimant.claim(0, Stamp(1), WORKER))).is_err());
        assert_eq!(owner.revoke(0, Stamp(1)), Revoked::Lost);
        assert_eq!(owner.claimed_by(0), Some(WORKER));
        drop(owner.take(0).expect("it is still there"));
        assert_eq!(StdArc::strong_count(&holders), 1);
    }

    #[test]
    fn the_ready_made_payloads_have_one_frame() {
        fn check(payload: &impl Payload) {
            let share = payload.share();
            assert_eq!((payload.frame_count(), share.frame_count()), (1, 1));
            assert_eq!(
                (payload.frame(0), share.frame(0)),
                (Some(&b"abc"[..]), Some(&b"abc"[..]))
            );
            assert_eq!(payload.frame(1), None);
        }
        check(b"abc");
        check(&ArrayVec::<u8, 8>::try_from(&b"abc"[..]).unwrap());
        check(&StdArc::<[u8]>::from(&b"abc"[..]));
    }

    /// Claims whatever is newest until told to stop; answers how often it won.
    fn claim_all(claimant: &TaskClaimant<Box<[u8; 1]>>, newest: &AtomicU64) -> u64 {
        let mut wins = 0;
        loop {
            let stamp = newest.load(Ordering::Relaxed);
            if stamp > PUBLISHES {
                return wins;
            }
            wins += u64::from(claimant.claim(0, Stamp(stamp), WORKER).is_some());
            thread::yield_now();
        }
    }

    impl Payload for Box<[u8; 1]> {
        fn frame_count(&self) -> usize {
            1
        }

        fn frame(&self, index: usize) -> Option<&[u8]> {
            (index == 0).then_some(&self[..])
        }

        fn share(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn every_publish_has_one_winner() {
        let (mut owner, claimant) = task_table(1);
        let newest = AtomicU64::new(0);
        let (mut revoked, mut claimed) = (0, 0);
        thread::scope(|scope| {
            let claimants = [(); 2].map(|()| scope.spawn(|| claim_all(&claimant, &newest)));
            for stamp in 1..=PUBLISHES {
                owner.put(0, Box::new([1]));
                owner.publish(0, Stamp(stamp));
                newest.store(stamp, Ordering::Relaxed);
                if stamp % 16 == 0 {
                    thread::yield_now();
                }
                if owner.revoke(0, Stamp(stamp)) == Revoked::Won {
                    revoked += 1;
                }
                while !owner.is_settled(0) {
                    thread::yield_now();
                }
            }
            newest.store(PUBLISHES + 1, Ordering::Relaxed);
            for thread in claimants {
                claimed += thread.join().unwrap();
            }
        });
        assert_eq!(revoked + claimed, PUBLISHES);
    }
}
