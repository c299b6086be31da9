//! Rivals that run closures: `rayon` and `tokio`, with one thread each on the other core.
//!
//! What they run is a no-op that gives back its number, in groups as large as the window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::course::pin;
use super::tally::{Tally, item};
use crate::error::Error;

/// Starts no thread per lap: pools live as long as the program, as they do elsewhere.
static RAYON: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
static TOKIO: OnceLock<Option<Arc<tokio::runtime::Runtime>>> = OnceLock::new();

/// A scope of as many spawns as the window has.
pub(super) fn rayon(items: u64, window: u64) -> Result<Duration, Error> {
    let pool = RAYON.get_or_init(|| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(1);
        builder.start_handler(|_| pin(1)).build().ok()
    });
    let pool = pool
        .as_ref()
        .ok_or_else(|| Error::System("rayon starts no thread".into()))?;
    on_core_0(|| {
        let results: Vec<_> = (0..window).map(|_| AtomicU64::new(u64::MAX)).collect();
        let mut tally = Tally::default();
        let start = Instant::now();
        let mut next = 0;
        while next < items {
            let group = window.min(items - next);
            // In place: the caller's thread spawns, and waits for the pool's.
            pool.in_place_scope(|scope| {
                for (number, result) in (next..next + group).zip(&results) {
                    scope.spawn(move |_| result.store(number, Ordering::Relaxed));
                }
            });
            for result in &results[..group as usize] {
                tally.take_number(result.swap(u64::MAX, Ordering::Relaxed));
            }
            next += group;
        }
        let took = start.elapsed();
        tally.check("rayon", items)?;
        Ok(took)
    })
}

/// As many spawns as the window has, and the wait for each of their handles.
pub(super) fn tokio(items: u64, window: u64) -> Result<Duration, Error> {
    let runtime = TOKIO.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(1).on_thread_start(|| pin(1));
        builder.build().ok().map(Arc::new)
    });
    let runtime = runtime
        .as_ref()
        .ok_or_else(|| Error::System("tokio starts no thread".into()))?;
    on_core_0(|| {
        let mut tally = Tally::default();
        let start = Instant::now();
        runtime.block_on(async {
            let mut handles = Vec::with_capacity(window as usize);
            let mut next = 0;
            while next < items {
                let group = window.min(items - next);
                handles.extend(
                    (next..next + group).map(|number| runtime.spawn(async move { item(number) })),
                );
                for handle in handles.drain(..) {
                    tally.take(handle.await.map_err(Error::system)?);
                }
                next += group;
            }
            Ok::<(), Error>(())
        })?;
        let took = start.elapsed();
        tally.check("tokio", items)?;
        Ok(took)
    })
}

/// On a thread of its own, pinned as the others' is.
fn on_core_0(lap: impl FnOnce() -> Result<Duration, Error> + Send) -> Result<Duration, Error> {
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            pin(0);
            lap()
        });
        running.join().expect("waiting does not panic")
    })
}
