//! Questions and orders of queue control that are answered at once, and the answers.

use taskyard_core::{
    ClientId, Cursor, Explanation, Instant, Priority, Scheduler, Select, Target, TaskId, TaskInfo,
    WorkerId, WorkerInfo,
};

use crate::statistics::Statistics;

/// Rows of one page.
pub const PAGE_ROWS: usize = 64;

/// Places of the table that one page looks at: so no list delays anybody by more. A page that found
/// nothing there is empty, and says where to go on.
const PAGE_STEPS: u32 = 1024;

/// What is asked or ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A page of the list of tasks.
    List {
        /// Which.
        select: Select,
        /// Where the last page said to go on.
        from: Cursor,
    },
    /// How many tasks of a topic wait.
    Depth(Target),
    /// Why a task is not running, or since when it is.
    Explain {
        /// Whose.
        client: ClientId,
        /// The client's number for it.
        task: TaskId,
    },
    /// Cancel a task, as its client could.
    Cancel {
        /// Whose.
        client: ClientId,
        /// The client's number for it.
        task: TaskId,
    },
    /// Hold a worker, or release it.
    Hold {
        /// Which.
        worker: Target,
        /// Whether it is given nothing.
        held: bool,
    },
    /// Let a worker finish what it runs, and leave.
    Drain(Target),
    /// A page of the list of workers.
    Workers {
        /// Where the last page said to go on.
        from: Cursor,
    },
    /// All that was counted.
    Statistics,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// At most [`PAGE_ROWS`]; there may be none although more follows.
    pub rows: Vec<T>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OrderRefusal {
    /// It is about others than the client itself.
    #[error("that takes the operator's key (which a controller with --no-auth does not have)")]
    Forbidden,
    /// There is no such task or worker now.
    #[error("there is no such task or worker now")]
    Unknown,
    /// Too many questions or sweeps have no answer yet.
    #[error("too many questions or sweeps have no answer yet: ask again later")]
    Busy,
    /// The answer is larger than the payloads that the controller was built for.
    #[error("the answer is too large for this controller's payloads")]
    TooLarge,
    /// A reason that this version does not know.
    #[error("the controller gave reason {0}, which this version does not know")]
    Other(u16),
}

/// What is said to an [`Order`], or to a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Order::List`].
    Tasks(Page<TaskInfo>),
    /// To [`Order::Workers`].
    Workers(Page<WorkerInfo>),
    /// To [`Order::Depth`].
    Depth {
        /// Those that wait in the core: for each priority, from the least urgent.
        waiting: [u32; Priority::COUNT],
        /// Those that are in the pool, for whoever is free first; only of [`Target::Any`].
        pooled: u32,
    },
    /// To [`Order::Explain`].
    Explained {
        /// Why.
        explanation: Explanation,
        /// When that was so: what the explanation calls `until` is that much later.
        at: Instant,
    },
    /// To [`Order::Statistics`].
    Statistics(Box<Statistics>),
    /// The order was given to the task or the worker.
    Done,
    /// To a sweep: how many tasks were taken away.
    Swept(u32),
    /// Nothing was done.
    Refused(OrderRefusal),
}

/// Carries an order out.
pub(crate) fn carry_out(scheduler: &mut Scheduler, now: Instant, order: Order) -> Answer {
    match order {
        Order::List { select, from } => Answer::Tasks(page(from, |from, steps, rows| {
            scheduler.list(now, select, from, steps, |row| rows.push(row))
        })),
        Order::Workers { from } => Answer::Workers(page(from, |from, steps, rows| {
            scheduler.list_workers(now, from, steps, |row| rows.push(row))
        })),
        Order::Depth(target) => Answer::Depth {
            waiting: core::array::from_fn(|level| {
                scheduler.depth(target, Priority::new(level as u8))
            }),
            pooled: match target {
                Target::Any => scheduler.pooled(),
                _ => 0,
            },
        },
        Order::Explain { client, task } => match scheduler.explain(now, client, task) {
            Some(explanation) => Answer::Explained {
                explanation,
                at: now,
            },
            None => Answer::Refused(OrderRefusal::Unknown),
        },
        Order::Cancel { client, task } => {
            let known = scheduler.explain(now, client, task);
            let open = known.filter(|why| !matches!(why, Explanation::OutcomeWaits { .. }));
            if open.is_some() {
                scheduler.handle_cancel(now, client, task);
            }
            done(open.is_some())
        }
        Order::Statistics => Answer::Statistics(Box::new(Statistics::of(scheduler, now))),
        Order::Hold { worker, held } => {
            let worker = worker_of(scheduler, now, worker);
            done(worker.is_some_and(|worker| scheduler.handle_hold(now, worker, held)))
        }
        Order::Drain(worker) => {
            let worker = worker_of(scheduler, now, worker);
            done(worker.is_some_and(|worker| scheduler.handle_drain(now, worker)))
        }
    }
}

const fn done(done: bool) -> Answer {
    match done {
        true => Answer::Done,
        false => Answer::Refused(OrderRefusal::Unknown),
    }
}

/// The worker that a target names, if it is attached.
fn worker_of(scheduler: &Scheduler, now: Instant, target: Target) -> Option<WorkerId> {
    let known = scheduler.liveness(now, target)?;
    known.alive.then_some(known.worker)
}

/// Fills a page: as many places as there is room for rows at a time, until it is full, the steps
/// are used up, or the list ends.
fn page<T>(
    mut from: Cursor,
    mut list: impl FnMut(Cursor, u32, &mut Vec<T>) -> Option<Cursor>,
) -> Page<T> {
    let mut rows = Vec::new();
    let mut left = PAGE_STEPS;
    while left > 0 && rows.len() < PAGE_ROWS {
        let steps = left.min((PAGE_ROWS - rows.len()) as u32);
        match list(from, steps, &mut rows) {
            Some(next) => from = next,
            None => return Page { rows, next: None },
        }
        left -= steps;
    }
    Page {
        rows,
        next: Some(from),
    }
}
