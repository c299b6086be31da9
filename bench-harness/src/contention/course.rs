//! What all laps have in common: a common start, and the same patience on both sides.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use taskyard_dispatcher::{cores_available, pin_current_thread};

/// Waits for another thread: by spinning, and from time to time by letting others run.
///
/// Both sides of a race wait like this when a queue is full or empty, so the wait is the same.
#[derive(Debug, Default)]
pub(super) struct Patience(u32);

impl Patience {
    const SPINS: u32 = 256;

    #[inline]
    pub(super) fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(Self::SPINS) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

/// Where threads wait for each other, again and again. It spins: a wake-up would make the first
/// microseconds of a lap a race between sleepers.
#[derive(Debug)]
pub(super) struct Gate {
    threads: usize,
    /// How often a thread has come here. Written and read by all; only grows.
    arrivals: AtomicUsize,
}

impl Gate {
    pub(super) const fn new(threads: usize) -> Self {
        Self {
            threads,
            arrivals: AtomicUsize::new(0),
        }
    }

    /// Goes on when all threads are here.
    pub(super) fn pass(&self) {
        let before = self.arrivals.fetch_add(1, Ordering::AcqRel);
        let all = (before / self.threads + 1) * self.threads;
        let mut patience = Patience::default();
        while self.arrivals.load(Ordering::Acquire) < all {
            patience.wait();
        }
    }
}

/// Puts the calling thread on a core, counted round; where that is not allowed, both sides of a
/// race run unpinned.
pub(super) fn pin(thread: usize) {
    let _ = pin_current_thread(thread % cores_available());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_gate_before_all_are_there() {
        const LAPS: usize = 200;
        let gate = Gate::new(3);
        let laps = [(); 3].map(|()| AtomicUsize::new(0));
        thread::scope(|scope| {
            for mine in &laps {
                scope.spawn(|| {
                    for lap in 1..=LAPS {
                        mine.store(lap, Ordering::SeqCst);
                        gate.pass();
                        assert!(
                            laps.iter()
                                .all(|lap_of| lap_of.load(Ordering::SeqCst) >= lap)
                        );
                        gate.pass();
                    }
                });
            }
        });
    }
}
