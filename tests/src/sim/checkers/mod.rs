//! What must hold of every history. Each checker is an object of its own that sees facts only.
//!
//! | | invariant | where |
//! | --- | --- | --- |
//! | I1 | one outcome per accepted submit, one refusal per refused one | [`outcomes`] |
//! | I2 | no task starts more often than it may | [`starts`] |
//! | I3 | executions overlap only over a loss, and the latest one's result counts | [`starts`] |
//! | I4 | `Cancelled { started: false }` never started | [`outcomes`] |
//! | I5 | a directed task starts on its target only | [`targets`] |
//! | I6 | mailboxes, windows, slots and the pool hold no more than they may | [`credit`] |
//! | I7 | no record and no payload is left at rest | the end of the world, `sanity_check` |
//! | I8 | what is stale changes nothing but a counter | `absurd` |
//! | I9 | the same seed gives the same history | `run` |
//! | I10 | directed tasks of one client start in the order of their submits | [`order`] |
//! | I11 | one call does a bounded amount of work | [`work`] |
//! | I12 | nothing waits beside a worker that could run it | `control` |
//! | I13 | deadlines are not early, and not late | [`timers`], [`outcomes`] |
//! | I14 | nothing is allocated | `alloc`, `watch` |
//! | I15 | nothing is taken for a worker that is paused | [`pauses`] |
//! | I16 | what is more urgent leaves its backlog first | [`levels`] |
//! | I17 | clients of one level take turns | [`levels`] |
//! | I18 | a task that is lost for good names the workers that it was lost with | [`starts`] |

pub(crate) mod credit;
pub(crate) mod levels;
pub(crate) mod order;
pub(crate) mod outcomes;
pub(crate) mod pauses;
pub(crate) mod starts;
pub(crate) mod targets;
pub(crate) mod timers;
pub(crate) mod work;

use taskyard_core::{Instant, TaskHandle};

use self::credit::Credit;
use self::levels::Levels;
use self::order::Order;
use self::outcomes::Outcomes;
use self::pauses::Pauses;
use self::starts::Starts;
use self::targets::Targets;
use self::timers::Timers;
use self::work::Work;
use super::fact::Fact;
use super::options::{Options, Size};

/// All of them.
#[derive(Debug)]
pub(crate) struct Checkers {
    pub(crate) outcomes: Outcomes,
    pub(crate) starts: Starts,
    pub(crate) targets: Targets,
    pub(crate) credit: Credit,
    pub(crate) levels: Levels,
    order: Order,
    pauses: Pauses,
    pub(crate) timers: Timers,
    pub(crate) work: Work,
}

impl Checkers {
    pub(crate) fn new(options: &Options) -> Self {
        let slots = options.size(Size::Tasks) as usize;
        Self {
            outcomes: Outcomes::new(slots),
            starts: Starts::new(slots),
            targets: Targets::new(options),
            credit: Credit::new(options),
            levels: Levels::new(slots),
            order: Order::new(slots),
            pauses: Pauses::default(),
            timers: Timers::new(slots),
            work: Work::new(options),
        }
    }

    pub(crate) fn see(&mut self, now: Instant, fact: &Fact) {
        self.outcomes.see(now, fact);
        self.starts.see(fact);
        self.targets.see(fact);
        self.credit.see(fact);
        self.levels.see(fact);
        self.order.see(fact);
        self.pauses.see(fact);
        self.timers.see(now, fact);
    }
}

/// Something about each task, by its place: the latest tenant only.
#[derive(Debug)]
pub(crate) struct BySlot<T> {
    places: Vec<Option<(TaskHandle, T)>>,
}

impl<T> BySlot<T> {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            places: (0..slots).map(|_| None).collect(),
        }
    }

    /// Enters a new tenant; gives back the one before.
    pub(crate) fn insert(&mut self, handle: TaskHandle, value: T) -> Option<(TaskHandle, T)> {
        self.places[handle.index() as usize].replace((handle, value))
    }

    pub(crate) fn get(&mut self, handle: TaskHandle) -> Option<&mut T> {
        let place = self.places.get_mut(handle.index() as usize)?.as_mut()?;
        (place.0 == handle).then_some(&mut place.1)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&(TaskHandle, T)> {
        self.places.get(index as usize)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(TaskHandle, T)> {
        self.places.iter().flatten()
    }
}
