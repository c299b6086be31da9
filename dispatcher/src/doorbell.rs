//! Which of many rings have something: one bit each, and one word on which the reader sleeps.
//!
//! A thread that reads thousands of rings cannot look into each of them. Whoever pushes into ring
//! *i* rings bell *i*; the reader takes all bells at once and visits those rings only.
//!
//! ```text
//!  summary   ┌─────────┬───┬───┬ … ┬────┐     one bit per group of words, at most 63 groups,
//!            │SLEEPING │ 0 │ 1 │   │ 62 │     and one that says that the reader sleeps
//!            └─────────┴─┬─┴─┬─┴ … ┴────┘
//!                        ▼   ▼
//!  words     [ 64 bells ][ 64 bells ] …       a group is one word up to 4032 rings, two up to 8064
//! ```
//!
//! # Protocol
//!
//! | writer, after its push into ring *i* | reader |
//! | --- | --- |
//! | W1 set bit *i* in its word (Release) | R1 swap the summary with 0 (Acquire) |
//! | W2 set the group's bit in the summary (Release) | R2 swap each word of the groups found with 0 (Acquire) |
//! | W3 if W2 found `SLEEPING`: clear it, and whoever clears it unparks the reader | R3 pop from the rings found until they are empty, or keep their bits |
//!
//! and, to sleep:
//!
//! | reader |
//! | --- |
//! | S1 set `SLEEPING` in the summary (Acquire); if a group's bit was set: clear `SLEEPING`, go to R1 |
//! | S2 look once more at whatever else it waits for (a stop flag) |
//! | S3 park; then clear `SLEEPING`, go to R1 |
//!
//! **The races to avoid:** a push that stays behind with no bit set; a reader that sleeps beside a
//! set bit. **Why they cannot be:** (1) Every step on a word is a read-modify-write, so they have
//! one order. If R1 comes before W2, the summary's bit is set for next time. If after, R1 pairs
//! with W2, so R2 comes after W1: it finds the bit, or an earlier R2 has. Whichever R2 clears the
//! bit pairs with W1, so the push happened before R3. (2) Of S1 and W2 one comes first: then S1
//! sees the bit, or W3 sees `SLEEPING`. For S2, [`Bell::wake`] is a W2 without a bit: if it comes
//! before S1, then S1 pairs with it, and S2 sees the flag.
//!
//! W1 and W2 are always read-modify-writes. "Skip it if the bit is set already" would be a lost
//! wake-up, as the reader may have cleared the bit and not yet be seen to have.

use std::fmt;
use std::sync::Arc as StdArc;

use crate::parker::Unpark;
use crate::sync::{Arc, AtomicU64, Ordering, ordering, zeroed_table};

/// Bit of the summary that says: the reader sleeps, or is about to.
const SLEEPING: u64 = 1 << 63;
/// Bits of the summary that are left for groups of words.
const GROUPS_MAX: usize = 63;

/// Bells for rings `0..rings`, and their one listener, which `unpark` wakes.
///
/// ```
/// use taskyard_dispatcher::{ThreadParker, doorbell};
/// let (bell, mut listener) = doorbell(1000, ThreadParker::new().unparker());
/// bell.ring(3);
/// bell.ring(999);
/// bell.ring(3);
/// assert_eq!(listener.next(), Some(3));
/// assert!(!listener.announce(), "bell 999 has not been answered");
/// assert_eq!(listener.next(), Some(999));
/// assert_eq!(listener.next(), None);
/// assert!(listener.announce(), "now it may sleep");
/// ```
///
/// # Panics
/// There are more rings than 32 bits can number.
#[must_use]
pub fn doorbell(rings: usize, unpark: StdArc<dyn Unpark>) -> (Bell, Listener) {
    let rings = u32::try_from(rings).expect("rings are numbered by 32 bits");
    let words = (rings as usize).div_ceil(64);
    let shared = Arc::new(Shared {
        summary: AtomicU64::new(0),
        words: zeroed_table(words),
        rings,
        group_words: words.div_ceil(GROUPS_MAX).max(1),
        unpark,
    });
    let listener = Listener {
        shared: shared.clone(),
        groups: 0,
        bells: vec![0; words].into(),
        groups_kept: 0,
        bells_kept: vec![0; words].into(),
    };
    (Bell { shared }, listener)
}

/// A writing end of a [`doorbell`]: it tells the listener which ring has something.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

impl Bell {
    /// Says that ring `index` has something. Call it after the push, each time.
    ///
    /// # Panics
    /// There is no such ring.
    #[inline]
    pub fn ring(&self, index: u32) {
        let shared = &*self.shared;
        assert!(index < shared.rings, "bell {index} of {}", shared.rings);
        let word = index as usize / 64;
        // Ordering: Release, pairs with the Acquire in `Listener::collect`: who finds the bell
        // finds the push. Canary: bell.word
        shared.words[word].fetch_or(1 << (index % 64), ordering!("bell.word", Release));
        // Ordering: Release, pairs with the Acquire in `Listener::refill`: who finds the group
        // finds the bell. Canary: bell.summary
        let group = 1 << (word / shared.group_words);
        let before = shared
            .summary
            .fetch_or(group, ordering!("bell.summary", Release));
        shared.unpark_if_sleeping(before);
    }

    /// Wakes the listener, if it sleeps, for something that is not in a ring: a stop flag, say.
    ///
    /// What the caller did before is visible to a listener that looks after
    /// [`announce`](Listener::announce), or it is unparked.
    pub fn wake(&self) {
        // Ordering: Release, pairs with the Acquire in `Listener::announce`. It must be a
        // read-modify-write, to have a place in the order of the summary. Canary: bell.wake
        let before = self
            .shared
            .summary
            .fetch_or(0, ordering!("bell.wake", Release));
        self.shared.unpark_if_sleeping(before);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell")
            .field("rings", &self.shared.rings)
            .finish_non_exhaustive()
    }
}

/// The reading end of a [`doorbell`].
pub struct Listener {
    shared: Arc<Shared>,
    /// Groups in which there is a bell of `bells`.
    groups: u64,
    /// Bells of this round that are still to be answered.
    bells: Box<[u64]>,
    /// Groups in which there is a bell of `bells_kept`.
    groups_kept: u64,
    /// Bells to be answered again in the next round.
    bells_kept: Box<[u64]>,
}

impl Listener {
    /// The next ring to visit.
    ///
    /// Bells are answered in rounds, each in rising order, so every ring gets its turn before one
    /// gets two. A caller that stops in the middle of a round loses nothing.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would be borrowed over `requeue`"
    )]
    #[inline]
    pub fn next(&mut self) -> Option<u32> {
        if self.groups == 0 {
            self.refill();
        }
        if self.groups == 0 {
            return None;
        }
        let group = self.groups.trailing_zeros() as usize;
        let range = self.shared.words_of(group);
        let rung = |&word: &usize| self.bells[word] != 0;
        let word = range
            .clone()
            .find(rung)
            .expect("a group of the round has a bell");
        let bit = self.bells[word].trailing_zeros();
        self.bells[word] &= self.bells[word] - 1;
        if self.bells[range].iter().all(|&bells| bells == 0) {
            self.groups &= self.groups - 1;
        }
        Some(word as u32 * 64 + bit)
    }

    /// Keeps a bell for the next round: its ring was visited, but not drained.
    ///
    /// # Panics
    /// There is no such ring.
    pub fn requeue(&mut self, index: u32) {
        assert!(
            index < self.shared.rings,
            "bell {index} of {}",
            self.shared.rings
        );
        let word = index as usize / 64;
        self.bells_kept[word] |= 1 << (index % 64);
        self.groups_kept |= 1 << (word / self.shared.group_words);
    }

    /// Says that the listener is about to sleep. If the answer is `true`, every later bell unparks
    /// it; it looks once more at what else it waits for, and sleeps. After that, or if it does not
    /// sleep after all, it [`retract`](Self::retract)s.
    ///
    /// `false`: there is a bell to answer, and nothing was announced.
    #[must_use]
    pub fn announce(&mut self) -> bool {
        if self.groups | self.groups_kept != 0 {
            return false;
        }
        // Ordering: Acquire, pairs with the Release in `Bell::wake`: whoever came before is seen,
        // and whoever comes later sees this bit. Canary: bell.announce
        let before = self
            .shared
            .summary
            .fetch_or(SLEEPING, ordering!("bell.announce", Acquire));
        if before & !SLEEPING != 0 {
            self.retract();
            return false;
        }
        true
    }

    /// Says that the listener is awake: bells need not unpark it.
    pub fn retract(&mut self) {
        // Relaxed: too late a sight of it costs one unpark for nothing.
        self.shared.summary.fetch_and(!SLEEPING, Ordering::Relaxed);
    }

    /// Starts a round: takes the bells rung since the last one, and those kept.
    fn refill(&mut self) {
        self.groups = std::mem::take(&mut self.groups_kept);
        std::mem::swap(&mut self.bells, &mut self.bells_kept);
        // Relaxed: a look that spares the swap, and its cache line, while nothing happens. A bell
        // that it is too early for is found by the next, or by `announce`.
        if self.shared.summary.load(Ordering::Relaxed) & !SLEEPING == 0 {
            return;
        }
        // Ordering: Acquire, pairs with the Release in `Bell::ring`: the bells of the groups found
        // are set. Canary: bell.refill
        let groups = self
            .shared
            .summary
            .swap(0, ordering!("bell.refill", Acquire))
            & !SLEEPING;
        for group in bits(groups) {
            self.collect(group);
        }
    }

    /// Takes the bells of one group, if there are any: an earlier round may have had them, between
    /// the writer's two steps.
    fn collect(&mut self, group: usize) {
        for word in self.shared.words_of(group) {
            // Ordering: Acquire, pairs with the Release in `Bell::ring`: the pushes are in the
            // rings. Canary: bell.collect
            let rung = self.shared.words[word].swap(0, ordering!("bell.collect", Acquire));
            self.bells[word] |= rung;
            self.groups |= u64::from(rung != 0) << group;
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("rings", &self.shared.rings)
            .finish_non_exhaustive()
    }
}

/// What all ends have in common.
struct Shared {
    /// Groups with a bell, and `SLEEPING`. Every change is a read-modify-write, by writers and by
    /// the reader; a plain load may be stale.
    summary: AtomicU64,
    /// Bells. Set by writers, cleared by the reader.
    words: Box<[AtomicU64]>,
    rings: u32,
    /// Words that one bit of the summary stands for.
    group_words: usize,
    unpark: StdArc<dyn Unpark>,
}

impl Shared {
    /// W3. Of all who ring while the reader sleeps, the one that clears its bit makes the call: an
    /// unpark is a system call, and one is enough.
    #[inline]
    fn unpark_if_sleeping(&self, summary_before: u64) {
        // Relaxed: the caller's step on this word was a Release, and this one continues it.
        if summary_before & SLEEPING != 0
            && self.summary.fetch_and(!SLEEPING, Ordering::Relaxed) & SLEEPING != 0
        {
            self.unpark.unpark();
        }
    }

    #[inline]
    fn words_of(&self, group: usize) -> std::ops::Range<usize> {
        let start = group * self.group_words;
        start..self.words.len().min(start + self.group_words)
    }
}

/// The positions of the bits that are set, rising.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;
    use crate::parker::ThreadParker;
    use crate::ring::ring;

    const ITEMS: usize = if cfg!(miri) { 50 } else { 50_000 };

    /// Counts how often it is called.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Unpark for Calls {
        fn unpark(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bells(rings: usize) -> (Bell, Listener, StdArc<Calls>) {
        let calls = StdArc::<Calls>::default();
        let (bell, listener) = doorbell(rings, calls.clone());
        (bell, listener, calls)
    }

    fn all(listener: &mut Listener) -> Vec<u32> {
        std::iter::from_fn(|| listener.next()).collect()
    }

    #[test]
    fn each_bell_is_answered_in_order() {
        // One word per group, the most of that, two words per group with a short last group.
        for rings in [1, 63, 64, 65, 4032, 4033, 5000] {
            let (bell, mut listener, _) = bells(rings);
            let last = rings as u32 - 1;
            let mut rung: Vec<u32> = (0..=last).step_by(37).chain([last]).collect();
            rung.dedup();
            rung.iter().rev().for_each(|&index| bell.ring(index));
            assert_eq!(all(&mut listener), rung);
            assert_eq!(listener.next(), None);
        }
    }

    #[test]
    fn a_doorbell_without_rings_can_be_slept_on() {
        let (bell, mut listener, calls) = bells(0);
        assert_eq!(listener.next(), None);
        assert!(listener.announce());
        bell.wake();
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    #[should_panic(expected = "bell 3 of 3")]
    fn a_bell_that_is_not_there_is_an_error() {
        bells(3).0.ring(3);
    }

    #[test]
    fn a_kept_bell_waits_for_the_next_round() {
        let (bell, mut listener, _) = bells(200);
        for index in [1, 70, 150] {
            bell.ring(index);
        }
        assert_eq!(listener.next(), Some(1));
        listener.requeue(1);
        bell.ring(2);
        assert_eq!([listener.next(), listener.next()], [Some(70), Some(150)]);
        assert_eq!(
            [listener.next(), listener.next()],
            [Some(1), Some(2)],
            "the next round"
        );
        assert_eq!(listener.next(), None);
    }

    #[test]
    fn there_is_no_sleep_beside_a_bell() {
        let (bell, mut listener, calls) = bells(100);
        bell.ring(5);
        bell.ring(99);
        assert!(!listener.announce(), "not yet taken");
        assert_eq!(listener.next(), Some(5));
        assert!(!listener.announce(), "in the middle of a round");
        assert_eq!(listener.next(), Some(99));
        listener.requeue(99);
        assert!(!listener.announce(), "kept for the next round");
        assert_eq!(listener.next(), Some(99));
        assert!(listener.announce());
        assert_eq!(calls.0.load(Ordering::Relaxed), 0, "it never slept");
    }

    #[test]
    fn only_a_sleeper_is_unparked() {
        let (bell, mut listener, calls) = bells(2);
        bell.ring(0);
        bell.wake();
        assert_eq!(listener.next(), Some(0));
        assert!(listener.announce());
        listener.retract();
        bell.wake();
        assert_eq!(calls.0.load(Ordering::Relaxed), 0);

        assert!(listener.announce());
        bell.ring(1);
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        listener.retract();
        assert_eq!(listener.next(), Some(1));
    }

    #[test]
    fn a_reader_that_parks_hears_of_every_item() {
        const WRITERS: u32 = 3;
        let parker = ThreadParker::new();
        let (bell, mut listener) = doorbell(WRITERS as usize * 64, parker.unparker());
        let mut consumers = Vec::new();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (mut producer, consumer) = ring(8);
                consumers.push(consumer);
                let bell = bell.clone();
                scope.spawn(move || {
                    for item in 0..ITEMS {
                        while !producer.has_room(1) {
                            thread::yield_now();
                        }
                        producer.push(item).unwrap();
                        bell.ring(writer * 64);
                    }
                });
            }
            let mut left = ITEMS * WRITERS as usize;
            while left > 0 {
                while let Some(index) = listener.next() {
                    let consumer = &mut consumers[index as usize / 64];
                    left -= std::iter::from_fn(|| consumer.pop()).count();
                }
                if left > 0 && listener.announce() {
                    parker.park();
                    listener.retract();
                }
            }
        });
    }
}
