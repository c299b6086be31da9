//! The threads that sleep until there is something in the pool.
//!
//! A doorbell wakes one reader. The pool has many thieves, of which as many should wake as there
//! are items, and none should sleep beside an item that it could take.
//!
//! # Protocol
//!
//! One word has one bit per thief *thread* (each may host any number of workers): the thread
//! sleeps.
//!
//! | dispatcher, once per duty cycle, if it injected *n* | thief |
//! | --- | --- |
//! | D1 push *n* items into the pool | T1 set its bit (Acquire) |
//! | D2 clear up to *n* bits that are set (Release) | T2 look into the pool once more, and at the close flag |
//! | D3 unpark the thieves whose bits it cleared | T3 nothing there: park |
//! | | T4 clear its bit (Acquire); already cleared: it was *woken* |
//! | | T5 take what it has slots for |
//! | | T6 if it was woken and leaves something: wake one more, as in D2 and D3 |
//!
//! A place belongs to one thread from its join until it leaves; both write to it under a lock, with
//! the bit clear. D3 only tries to read it, and never waits: if that fails, the thread is leaving,
//! and goes through T4. So nobody but the tenant may ever lock a place for writing.
//!
//! T4 follows also where T2 found something, or where another cause ended the sleep. T6 counts
//! also for want of a free slot or of room in a ring: who cannot take hands the wake-up on. A
//! thread that leaves for good goes through T4, and hands on too.
//!
//! Only a thread that could take something sets its bit: one that sleeps for want of a free slot
//! would be handed a wake-up that it can but hand on, perhaps to another of its kind and back.
//!
//! **The race to avoid:** an item in the pool, and a thief with a free slot asleep. **Why it
//! cannot be:** T1 and D2 are read-modify-writes of one word, and D2 is one also if no bit is set.
//! If T1 comes after D2, it pairs with it, so T2 sees the item, unless somebody has taken it (see
//! "Empty means empty" in `pool.rs`). If T1 comes before, D2 sees the bit: it clears it, or it has
//! cleared *n* others. Each of these is awake and has a wake-up to its name, which ends in T5 with
//! an item taken, or in T6. So *n* items have *n* wake-ups or nobody sleeps, and a wake-up is
//! never dropped while there is an item.
//!
//! **Clearing at D2** is what makes this count: were the bits left to the thieves, a second duty
//! cycle would spend its wake-ups on threads that the first one has woken already. A bit that
//! vanishes between the look and the clearing belonged to a thief that woke by itself, has no
//! wake-up to its name and may have no slot: D2 goes on to another.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc as StdArc, Mutex, PoisonError, RwLock, TryLockError};

use crate::parker::Unpark;
use crate::sync::{Arc, AtomicU64, Ordering, ordering};

/// Which threads sleep on the pool: at most [`Sleepers::THREADS_MAX`].
///
/// ```
/// use taskyard_dispatcher::{Sleepers, ThreadParker};
/// let sleepers = Sleepers::new();
/// let sleeper = sleepers.join(ThreadParker::new().unparker()).unwrap();
/// assert_eq!(sleepers.wake(1), 0, "it is awake");
///
/// sleeper.announce();
/// assert_eq!(sleepers.wake(5), 1);
/// assert!(sleeper.retract(), "it was woken");
/// ```
#[derive(Clone)]
pub struct Sleepers {
    shared: Arc<Shared>,
}

impl Sleepers {
    /// How many threads may have joined at one time.
    pub const THREADS_MAX: usize = 63;

    /// Nobody has joined yet.
    #[must_use]
    pub fn new() -> Self {
        let places = std::array::from_fn(|_| RwLock::new(None));
        Self {
            shared: Arc::new(Shared {
                asleep: AtomicU64::new(0),
                taken: Mutex::new(0),
                places,
            }),
        }
    }

    /// Gives a thread a bit, or nothing if all are taken. `unpark` wakes it.
    #[must_use]
    pub fn join(&self, unpark: StdArc<dyn Unpark>) -> Option<Sleeper> {
        let index = self.shared.take_place()?;
        self.shared.set_tenant(index, Some(unpark));
        Some(Sleeper {
            shared: self.shared.clone(),
            index,
            announced: Cell::new(false),
        })
    }

    /// Wakes up to `count` threads that sleep, and answers how many it has woken.
    ///
    /// A thread that announces later than this call sees all that the caller has done before it. So
    /// call it after the pushes, and once for all of them. It never blocks.
    pub fn wake(&self, count: usize) -> usize {
        self.shared.wake(count)
    }
}

impl Default for Sleepers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sleepers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleepers").finish_non_exhaustive()
    }
}

/// One thread's bit among the [`Sleepers`]; dropping it gives the bit back.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// let sleepers = taskyard_dispatcher::Sleepers::new();
/// share(sleepers.join(taskyard_dispatcher::ThreadParker::new().unparker()).unwrap());
/// ```
pub struct Sleeper {
    shared: Arc<Shared>,
    index: usize,
    /// Whether the bit was set and not yet retracted. A waker may have cleared it in the meantime.
    announced: Cell<bool>,
}

impl Sleeper {
    /// Says that this thread is about to sleep on the pool, for which it has a slot free. It looks
    /// into the pool once more now, and only then sleeps; awake again, or if it does not sleep, it
    /// [`retract`](Self::retract)s.
    pub fn announce(&self) {
        self.announced.set(true);
        // Ordering: Acquire, pairs with the Release in `Shared::wake`: whatever was pushed before
        // an earlier wake-up is seen, and a later one sees this bit. Canary: sleep.announce
        self.shared
            .asleep
            .fetch_or(self.bit(), ordering!("sleep.announce", Acquire));
    }

    /// Says that this thread is awake. `true`: it was *woken*, so it takes what is in the pool,
    /// and if it leaves something there, for whatever reason, it calls
    /// [`wake_one_more`](Self::wake_one_more).
    #[must_use]
    pub fn retract(&self) -> bool {
        if !self.announced.replace(false) {
            return false;
        }
        // Ordering: Acquire, pairs with the Release in `Shared::wake`: a woken thread sees what it
        // was woken for. Canary: sleep.retract
        let before = self
            .shared
            .asleep
            .fetch_and(!self.bit(), ordering!("sleep.retract", Acquire));
        before & self.bit() == 0
    }

    /// Hands a wake-up on.
    pub fn wake_one_more(&self) {
        self.shared.wake(1);
    }

    fn bit(&self) -> u64 {
        1 << self.index
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.retract() {
            self.wake_one_more();
        }
        self.shared.set_tenant(self.index, None);
        self.shared.free_place(self.index);
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// What the wakers and the sleepers have in common.
struct Shared {
    /// Who sleeps. Every change is a read-modify-write: a thief sets and clears its own bit, a
    /// waker clears any. A plain load may be stale.
    asleep: AtomicU64,
    /// Which places have a tenant: a bit each. Only who joins or leaves comes here, and no waker.
    taken: Mutex<u64>,
    /// How to wake whom. Locked for writing by its own tenant alone, who joins or leaves: for an
    /// instant, and while its bit is clear. So wakers may merely *try* to read: a newcomer that
    /// looked for a free place by locking those of others would take their wake-ups away.
    places: [RwLock<Option<StdArc<dyn Unpark>>>; Sleepers::THREADS_MAX],
}

impl Shared {
    /// The lowest place that nobody has, for the caller.
    fn take_place(&self) -> Option<usize> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let index = taken.trailing_ones() as usize;
        (index < Sleepers::THREADS_MAX).then(|| {
            *taken |= 1 << index;
            index
        })
    }

    fn free_place(&self, index: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken &= !(1 << index);
    }

    /// Only for who has the place, and while its bit is clear.
    fn set_tenant(&self, index: usize, tenant: Option<StdArc<dyn Unpark>>) {
        let place = &self.places[index];
        *place.write().unwrap_or_else(PoisonError::into_inner) = tenant;
    }

    /// At most one round per bit: a bit that vanished is not tried twice. (It may be back, but
    /// then it was set after this call's first step, and its owner looks into the pool.)
    fn wake(&self, count: usize) -> usize {
        // Relaxed: a guess at whom to wake. The step below corrects it.
        let mut candidates = self.asleep.load(Ordering::Relaxed);
        let mut tried = 0;
        let mut woken = 0;
        while woken < count {
            let chosen = lowest_bits(candidates, count - woken);
            // Ordering: Release, pairs with the Acquires in `announce` and `retract`. It must be a
            // read-modify-write even with nobody chosen, to have a place in the word's order.
            // Canary: sleep.wake
            let before = self
                .asleep
                .fetch_and(!chosen, ordering!("sleep.wake", Release));
            let cleared = before & chosen;
            self.unpark_all(cleared);
            woken += cleared.count_ones() as usize;
            tried |= chosen;
            candidates = before & !tried;
            if candidates == 0 {
                break;
            }
        }
        woken
    }

    fn unpark_all(&self, mut bits: u64) {
        while bits != 0 {
            if let Some(unpark) = self.tenant(bits.trailing_zeros() as usize) {
                unpark.unpark();
            }
            bits &= bits - 1;
        }
    }

    /// Who has this place. Nobody, if its thread is leaving: it has found its bit cleared, or will,
    /// and hands the wake-up on.
    fn tenant(&self, index: usize) -> Option<StdArc<dyn Unpark>> {
        match self.places[index].try_read() {
            Ok(tenant) => tenant.clone(),
            Err(TryLockError::Poisoned(tenant)) => tenant.into_inner().clone(),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The lowest bits of a word, at most `count`: the same few threads stay awake, and warm.
fn lowest_bits(word: u64, count: usize) -> u64 {
    let mut rest = word;
    for _ in 0..count {
        if rest == 0 {
            break;
        }
        rest &= rest - 1;
    }
    word & !rest
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::thread;

    use super::*;
    use crate::parker::ThreadParker;
    use crate::pool::{Stealer, pool};

    const ITEMS: usize = if cfg!(miri) { 50 } else { 50_000 };

    /// Notes that it was called.
    #[derive(Default)]
    struct Called(AtomicBool);

    impl Called {
        fn take(&self) -> bool {
            self.0.swap(false, Ordering::Relaxed)
        }
    }

    impl Unpark for Called {
        fn unpark(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn join(sleepers: &Sleepers) -> (StdArc<Called>, Sleeper) {
        let called = StdArc::<Called>::default();
        let sleeper = sleepers.join(called.clone()).expect("there is a place");
        (called, sleeper)
    }

    #[test]
    fn as_many_are_woken_as_asked_for() {
        let sleepers = Sleepers::new();
        let threads = [(); 4].map(|()| join(&sleepers));
        threads[1..]
            .iter()
            .for_each(|(_, sleeper)| sleeper.announce());

        assert_eq!(sleepers.wake(0), 0);
        assert_eq!(sleepers.wake(2), 2);
        let called = threads.each_ref().map(|(called, _)| called.take());
        assert_eq!(called, [false, true, true, false]);
        let woken = threads.each_ref().map(|(_, sleeper)| sleeper.retract());
        assert_eq!(woken, [false, true, true, false]);

        threads[3].1.announce();
        assert_eq!(sleepers.wake(usize::MAX), 1);
        assert!(threads[3].0.take());
        assert_eq!(sleepers.wake(1), 0, "nobody is left");
    }

    #[test]
    fn who_wakes_by_itself_was_not_woken() {
        let sleepers = Sleepers::new();
        let (called, sleeper) = join(&sleepers);
        sleeper.announce();
        assert!(!sleeper.retract());
        assert_eq!(sleepers.wake(1), 0);
        assert!(!sleeper.retract(), "it had not announced");
        assert!(!called.take());
    }

    #[test]
    fn a_place_is_free_again_after_its_thread_has_left() {
        let sleepers = Sleepers::new();
        let mut threads: Vec<_> = (0..Sleepers::THREADS_MAX)
            .map(|_| join(&sleepers).1)
            .collect();
        assert!(sleepers.join(StdArc::<Called>::default()).is_none());
        threads.swap_remove(17);
        let (called, newcomer) = join(&sleepers);
        newcomer.announce();
        assert_eq!(sleepers.wake(1), 1);
        assert!(called.take());
    }

    /// A newcomer looks for a place while others sleep in theirs: it is not in the waker's way.
    #[test]
    fn who_joins_takes_no_wake_up_away() {
        let sleepers = Sleepers::new();
        let (called, sleeper) = join(&sleepers);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    drop(join(&sleepers));
                }
            });
            let mut missed = 0;
            for _ in 0..ITEMS {
                sleeper.announce();
                let is_called = sleepers.wake(1) == 1 && called.take();
                missed += u32::from(!(sleeper.retract() && is_called));
            }
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(missed, 0, "chosen, but not called");
        });
    }

    #[test]
    fn who_leaves_while_woken_hands_on() {
        let sleepers = Sleepers::new();
        let (_, leaver) = join(&sleepers);
        let (called, stayer) = join(&sleepers);
        leaver.announce();
        stayer.announce();
        assert_eq!(sleepers.wake(1), 1);
        assert!(!called.take());
        drop(leaver);
        assert!(called.take());
        assert!(stayer.retract());
    }

    #[test]
    fn who_leaves_asleep_is_not_woken_any_more() {
        let sleepers = Sleepers::new();
        let (called, leaver) = join(&sleepers);
        leaver.announce();
        drop(leaver);
        assert_eq!(sleepers.wake(1), 0);
        assert!(!called.take());
    }

    /// Takes one at a time and sleeps when there is nothing, until the pool is closed.
    fn steal_all(stealer: &Stealer<usize>, sleepers: &Sleepers, taken: &AtomicUsize) {
        let parker = ThreadParker::new();
        let sleeper = sleepers.join(parker.unparker()).unwrap();
        let mut was_woken = false;
        loop {
            let is_last = stealer.is_closed();
            if stealer.steal().is_some() {
                taken.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut was_woken) && !stealer.is_empty() {
                    sleeper.wake_one_more();
                }
                continue;
            }
            if is_last {
                return;
            }
            sleeper.announce();
            if stealer.is_empty() && !stealer.is_closed() {
                parker.park();
            }
            was_woken |= sleeper.retract();
        }
    }

    #[test]
    fn thieves_that_park_miss_no_item() {
        let (mut injector, stealer) = pool(8);
        let sleepers = Sleepers::new();
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| steal_all(&stealer, &sleepers, &taken));
            }
            let mut item = 0;
            while item < ITEMS {
                let mut injected = 0;
                while item < ITEMS && injector.has_room() {
                    injector.push(item).unwrap();
                    (item, injected) = (item + 1, injected + 1);
                }
                sleepers.wake(injected);
                thread::yield_now();
            }
            injector.close();
            sleepers.wake(usize::MAX);
        });
        assert_eq!(taken.load(Ordering::Relaxed), ITEMS);
    }
}
