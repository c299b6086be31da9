//! A thread of its own for the dispatcher, pinned where cores allow.
//!
//! # The end
//!
//! | owner, [`Runner`]'s drop | dispatcher's thread |
//! | --- | --- |
//! | R1 raise the stop flag (Release) | S1 announce that it sleeps |
//! | R2 wake, a step on the doorbell's summary | S2 look at the flag (Acquire); raised: do not sleep |
//! | R3 join the thread | S3 leave the loop, close the inbox, drop the dispatcher |
//!
//! **The race to avoid:** the thread sleeps beside a raised flag. **Why it cannot be:** R2 and S1
//! are read-modify-writes of one word (see `doorbell.rs`): if R2 comes first, S2 sees the flag,
//! else R2 unparks. Dropping the dispatcher closes the pool and every ring; who still has a port
//! keeps what it has taken, and what nobody has taken is dropped with the rings and the table. The
//! inbox is closed under its lock, so a visit is either made or refused, and never forgotten.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use taskyard_core::{Config, Instant};

use crate::affinity::pin_current_thread;
use crate::clock::Clock;
use crate::dispatcher::{Dispatcher, Waker};
use crate::error::Error;
use crate::idle::{Idle, IdleStep, IdleStrategy};
use crate::parker::ThreadParker;
use crate::payload::Payload;

/// How the dispatcher's thread behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunnerOptions {
    /// The core to pin it to, from 0; `None` leaves it to the system.
    pub core: Option<usize>,
    /// How it waits.
    pub idle: IdleStrategy,
}

type Visit<P> = Box<dyn FnOnce(&mut Dispatcher<P>, Instant) + Send>;

/// What other threads leave for the dispatcher's. Not for tasks: a lock is taken here.
struct Inbox<P: Payload> {
    /// `None`: nobody will take them any more.
    visits: Mutex<Option<Vec<Visit<P>>>>,
    /// Written by others under the lock, read by the dispatcher's thread: spares it the lock.
    any: AtomicBool,
    stop: AtomicBool,
}

impl<P: Payload> Inbox<P> {
    fn visits(&self) -> MutexGuard<'_, Option<Vec<Visit<P>>>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the dispatcher's thread must not sleep now.
    fn is_calling(&self) -> bool {
        // Ordering: Acquire pairs with the Release stores in `Runner::with` and `Runner::drop`.
        self.stop.load(Ordering::Acquire) || self.any.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<Visit<P>> {
        self.visits()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Closes the inbox when the dispatcher's thread ends, be it by a panic: whoever waits for an
/// answer is told that there is none.
struct Closing<'a, P: Payload>(&'a Inbox<P>);

impl<P: Payload> Drop for Closing<'_, P> {
    fn drop(&mut self) {
        *self.0.visits() = None;
    }
}

/// A dispatcher on a thread of its own; stops when dropped.
///
/// ```
/// # use taskyard_dispatcher::*;
/// # use taskyard_core::*;
/// # use std::time::Duration;
/// let runner = Runner::<[u8; 1]>::start(Config::default(), RunnerOptions::default())?;
/// let mut client = runner.with(|dispatcher, now| dispatcher.attach_client(now))??;
/// client.submit(Submit::new(TaskId(1), Target::All), [7]).unwrap();
/// let outcome = client.wait_outcome(Duration::from_secs(5)).expect("nobody to wait for");
/// assert_eq!(outcome.outcome, Outcome::Summary { parts: 0, completed: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runner<P: Payload> {
    inbox: Arc<Inbox<P>>,
    waker: Waker,
    clock: Clock,
    thread: Option<JoinHandle<()>>,
}

impl<P: Payload> Runner<P> {
    /// Makes a dispatcher and starts its thread.
    ///
    /// A core that cannot be had is warned of in the log, and the thread runs unpinned.
    ///
    /// # Errors
    /// When the configuration makes no sense, or no thread can be had.
    pub fn start(config: Config, options: RunnerOptions) -> io::Result<Self> {
        let parker = ThreadParker::new();
        let dispatcher = Dispatcher::new(config, parker.unparker())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let clock = Clock::start();
        let waker = dispatcher.waker();
        let inbox = Arc::new(Inbox {
            visits: Mutex::new(Some(Vec::new())),
            any: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&inbox);
        let thread = std::thread::Builder::new()
            .name("ty-dispatcher".into())
            .spawn(move || {
                if let Some(core) = options.core
                    && let Err(error) = pin_current_thread(core)
                {
                    tracing::warn!("the dispatcher is not pinned: {error}");
                }
                let _closing = Closing(&*theirs);
                drive(dispatcher, &theirs, &parker, clock, options.idle);
            })?;
        Ok(Self {
            inbox,
            waker,
            clock,
            thread: Some(thread),
        })
    }

    /// Runs `visit` on the dispatcher's thread, between two duty cycles, and waits for its answer:
    /// to attach a peer, or to read statistics.
    ///
    /// # Errors
    /// When the dispatcher has stopped.
    pub fn with<R: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut Dispatcher<P>, Instant) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let visit: Visit<P> = Box::new(move |dispatcher, now| {
            // Nobody waits any more: then nobody misses the answer.
            let _ = answer.send(visit(dispatcher, now));
        });
        {
            let mut visits = self.inbox.visits();
            visits.as_mut().ok_or(Error::Stopped)?.push(visit);
            // Ordering: Release publishes the push; pairs with the Acquire swap in `drive`. The
            // lock would do as well; this lets the dispatcher look without taking it.
            self.inbox.any.store(true, Ordering::Release);
        }
        self.waker.wake();
        answered.recv().map_err(|_| Error::Stopped)
    }

    /// The clock that the dispatcher's time is read from.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }
}

impl<P: Payload> Drop for Runner<P> {
    fn drop(&mut self) {
        // Ordering: Release hands over what the caller did before; pairs with the Acquire load in
        // `drive`.
        self.inbox.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the dispatcher's thread has panicked");
        }
    }
}

impl<P: Payload> fmt::Debug for Runner<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

fn drive<P: Payload>(
    mut dispatcher: Dispatcher<P>,
    inbox: &Inbox<P>,
    parker: &ThreadParker,
    clock: Clock,
    strategy: IdleStrategy,
) {
    let mut idle = Idle::new(strategy);
    // Ordering: Acquire pairs with the Release store in `Runner::drop`.
    while !inbox.stop.load(Ordering::Acquire) {
        let now = clock.now();
        let mut work = dispatcher.run_once(now);
        // Ordering: Acquire pairs with the Release store in `Runner::with`.
        if inbox.any.swap(false, Ordering::Acquire) {
            let visits = inbox.take();
            work += visits.len();
            for visit in visits {
                visit(&mut dispatcher, now);
            }
        }
        if idle.step(work) == IdleStep::Sleep {
            sleep(&mut dispatcher, inbox, parker, clock);
            idle.reset();
        }
    }
}

fn sleep<P: Payload>(
    dispatcher: &mut Dispatcher<P>,
    inbox: &Inbox<P>,
    parker: &ThreadParker,
    clock: Clock,
) {
    if !dispatcher.prepare_sleep() {
        return;
    }
    // A flag raised before the announcement is seen here, one raised after it comes with an unpark.
    if !inbox.is_calling() {
        match dispatcher.next_timeout() {
            Some(due) => parker.park_timeout(Clock::wait(clock.now(), due)),
            None => parker.park(),
        }
    }
    dispatcher.woke();
}

#[cfg(test)]
mod tests {
    use taskyard_core::Config;

    use super::{Runner, RunnerOptions};
    use crate::error::Error;

    #[test]
    fn who_asks_a_dispatcher_that_has_panicked_is_told() {
        let runner = Runner::<[u8; 1]>::start(Config::default(), RunnerOptions::default())
            .expect("a dispatcher");
        let asked = runner.with(|_, _| panic!("a visitor that panics, as this test wants it"));
        assert!(matches!(asked, Err::<(), _>(Error::Stopped)));
        let later = runner.with(|dispatcher, _| dispatcher.tasks());
        assert!(matches!(later, Err(Error::Stopped)));
    }
}
