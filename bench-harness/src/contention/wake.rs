//! How long it takes to wake a thread: each idle strategy against a bare futex and a bare eventfd.
//!
//! ```text
//!  core 0                                     core 1
//! ┌──────┐   a bell, a futex, an eventfd     ┌──────┐
//! │ ping ├──────────────────────────────────▶│ pong │   who has called waits
//! │      │◀──────────────────────────────────┤      │   to be called
//! └──────┘                                   └──────┘
//! ```
//! The two wake each other in turn. An item is one wake-up: half of the way there and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use rustix::thread::futex;
use taskyard_dispatcher::{Bell, Idle, IdleStep, IdleStrategy, Listener, ThreadParker, doorbell};

use super::course::{Gate, pin};
use super::race::{Race, Rival, Runner};
use crate::error::Error;

const STRATEGIES: [(&str, IdleStrategy); 3] = [
    ("spin", IdleStrategy::Spin),
    ("backoff", IdleStrategy::Backoff),
    ("park", IdleStrategy::Park),
];

/// One race per idle strategy.
pub(super) fn races(items: u64) -> Vec<Race> {
    STRATEGIES
        .into_iter()
        .map(|(name, strategy)| Race {
            name: format!("wake-up, {name}"),
            items: items.next_multiple_of(2),
            ours: Runner::new("ours", move |items| {
                lap([Waiting::new(strategy), Waiting::new(strategy)], items)
            }),
            rivals: vec![
                Rival::new("futex", |items| lap([Futex::new(), Futex::new()], items)),
                Rival::new("eventfd", |items| {
                    lap([EventFd::new()?, EventFd::new()?], items)
                }),
            ],
        })
        .collect()
}

/// Where one thread waits.
trait Place: Send {
    type Caller: Send;
    fn caller(&self) -> Self::Caller;
    /// Waits for one call.
    fn wait(&mut self);
    fn call(caller: &Self::Caller);
}

fn lap<P: Place>([mut ping, mut pong]: [P; 2], items: u64) -> Result<Duration, Error> {
    let (to_ping, to_pong) = (ping.caller(), pong.caller());
    let gate = Gate::new(2);
    let (gate, trips) = (&gate, items / 2);
    let took = thread::scope(|scope| {
        // Who waits for a call too many waits for ever, and one too few ends a lap that still
        // has a call: so a lap that ends has had each call once, but for the last, counted here.
        scope.spawn(move || {
            pin(1);
            gate.pass();
            for _ in 0..trips {
                pong.wait();
                P::call(&to_ping);
            }
        });
        let pinging = scope.spawn(move || {
            pin(0);
            gate.pass();
            let start = Instant::now();
            for _ in 0..trips {
                P::call(&to_pong);
                ping.wait();
            }
            start.elapsed()
        });
        pinging.join().expect("waiting does not panic")
    });
    Ok(took)
}

/// Ours: a bell, and the dance of announcing before a sleep.
struct Waiting {
    bell: Bell,
    listener: Listener,
    parker: ThreadParker,
    idle: Idle,
}

impl Waiting {
    fn new(strategy: IdleStrategy) -> Self {
        let parker = ThreadParker::new();
        let (bell, listener) = doorbell(64, parker.unparker());
        Self {
            bell,
            listener,
            parker,
            idle: Idle::new(strategy),
        }
    }
}

impl Place for Waiting {
    type Caller = Bell;

    fn caller(&self) -> Bell {
        self.bell.clone()
    }

    fn wait(&mut self) {
        self.idle.reset();
        while self.listener.next().is_none() {
            if self.idle.step(0) == IdleStep::Sleep && self.listener.announce() {
                self.parker.park();
                self.listener.retract();
            }
        }
    }

    fn call(bell: &Bell) {
        bell.ring(7);
    }
}

/// A counter of calls that the kernel watches.
struct Futex {
    calls: Arc<AtomicU32>,
    heard: u32,
}

impl Futex {
    fn new() -> Self {
        Self {
            calls: Arc::new(AtomicU32::new(0)),
            heard: 0,
        }
    }
}

impl Place for Futex {
    type Caller = Arc<AtomicU32>;

    fn caller(&self) -> Self::Caller {
        self.calls.clone()
    }

    fn wait(&mut self) {
        while self.calls.load(Ordering::Acquire) == self.heard {
            // Any error means: look again.
            let _ = futex::wait(&self.calls, futex::Flags::PRIVATE, self.heard, None);
        }
        self.heard += 1;
    }

    fn call(calls: &Self::Caller) {
        calls.fetch_add(1, Ordering::Release);
        futex::wake(calls, futex::Flags::PRIVATE, 1).expect("the address is valid");
    }
}

/// A counter of calls in the kernel.
struct EventFd(Arc<OwnedFd>);

impl EventFd {
    fn new() -> Result<Self, Error> {
        let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::SEMAPHORE);
        made.map(|fd| Self(Arc::new(fd))).map_err(Error::system)
    }
}

impl Place for EventFd {
    type Caller = Arc<OwnedFd>;

    fn caller(&self) -> Self::Caller {
        self.0.clone()
    }

    fn wait(&mut self) {
        let mut count = [0; 8];
        while read(&self.0, &mut count) == Err(Errno::INTR) {}
    }

    fn call(fd: &Self::Caller) {
        write(fd, &1_u64.to_ne_bytes()).expect("the counter is far from its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_comes_to_its_end() {
        for race in races(100) {
            assert!(race.run(1).is_ok());
        }
    }
}
