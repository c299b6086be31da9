//! The scheduler itself: what it consists of, and what it can be asked. Its story is told in parts:
//!
//! | file | tells |
//! | --- | --- |
//! | `tasks` | submit, cancel, deadlines, and how a task moves and ends |
//! | `reports` | what workers and the claim word say about a task |
//! | `workers` | registration, loss, and the way out of a place |
//! | `returns` | workers that may come back, and what waits for them |
//! | `clients` | sessions, acknowledgement, and forgetting |
//! | `prefetch` | tasks that are sent to a worker before it has a slot for them |
//! | `offers` | who gets a task that several workers may run, but not all, or not all equally well |
//! | `multicast` | making and cancelling the parts of a multicast |
//! | `control` | counting, listing and explaining tasks; holding and draining workers |
//! | `sweeps` | orders to take tasks away |
//! | `latency` | how long tasks wait, and how long they take |
//! | `prints` | whom to tell what a task has printed |
//! | `outputs` | `poll_*`: the next effect, envelope and reply |
//! | `sanity` | every invariant of these tables, checked the slow way |

mod carried;
mod clients;
mod control;
mod early;
mod inventory;
mod latency;
mod liveness;
mod multicast;
mod notices;
mod offers;
mod outputs;
mod prefetch;
mod pressure;
mod prints;
mod reports;
mod returns;
mod sanity;
mod sweeps;
mod tasks;
mod workers;

pub(crate) use notices::Noted;

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::backlog::Backlogs;
use crate::client::{Chore, ClientRecord, Shelf};
use crate::config::Limits;
use crate::crew::{Crews, Placing};
use crate::event::WorkerSlots;
use crate::histogram::Histogram;
use crate::history::Histories;
use crate::id::{ClientId, PortId, WorkerId};
use crate::index::Index;
use crate::list::List;
use crate::port::{Due, PortRecord};
use crate::slab::Slab;
use crate::stats::Stats;
use crate::task::Place;
use crate::time::Instant;
use crate::timer::Wheel;
use crate::window::Window;
use crate::worker::{Exit, Heirs, Ready, Roster, WorkerRecord};

/// Decides which task goes where and what becomes of it.
///
/// There are four kinds of method:
///
/// * **A**, getters: `&self`, no effect.
/// * **B**, inputs: `handle_*(now, …)` tells what happened. Ids in them may be stale or made up:
///   what matches nothing changes nothing but a counter. (Credit is the exception: it belongs to
///   the envelope, so [`handle_discarded`](Self::handle_discarded) and
///   [`handle_claimed`](Self::handle_claimed) return it whatever became of the task.)
/// * **C**, configuration: [`Config::validate`](crate::Config::validate), then
///   [`new`](Self::new), the only place that allocates.
/// * **D**, outputs: [`poll_effect`](Self::poll_effect) until `None`,
///   [`poll_inject`](Self::poll_inject) while the pool has room,
///   [`poll_due_port`](Self::poll_due_port) and for each such port
///   [`poll_reply`](Self::poll_reply) while it has room. Then wait for the next input, or until
///   [`next_timeout`](Self::next_timeout) and call [`handle_timeout`](Self::handle_timeout).
///
/// Outputs are computed from state, not queued: the driver may stop polling at any time. Time never
/// goes backwards from one call to the next.
///
/// ```
/// use taskyard_core::*;
/// # let limits = Config { tasks: 8, ..Config::default() }.validate()?;
/// let mut scheduler = Scheduler::new(&limits);
/// let (now, port) = (Instant(0), PortId(0));
///
/// let hello = ClientHello { key: 1, session: 1, keep_outcomes: false, token: Token(0) };
/// let client = scheduler.handle_client_up(now, port, hello).expect("room").client;
/// let registration = Registration {
///     name: NameKey(7), instance: 1, number: 1, slots: 1, prefetch: 0, busy: 0,
///     labels: Labels::NONE, token: Token(0),
/// };
/// let Registered::Admitted { worker, epoch } =
///     scheduler.handle_worker_up(now, port, registration) else { panic!("it is the first") };
///
/// let submit = Submit::new(TaskId(42), Target::Worker(worker));
/// let submitted = scheduler.handle_submit(now, client, submit);
/// let Submitted::Accepted(handle) = submitted else { panic!() };
/// let Some(Effect::Offer { envelope, .. }) = scheduler.poll_effect(now) else { panic!() };
///
/// let report = Report {
///     worker, epoch, handle, attempt: envelope.attempt, verdict: Verdict::Completed,
/// };
/// assert_eq!(scheduler.handle_reported(now, report), Reported::Counted);
/// assert_eq!(scheduler.poll_due_port(), Some(port));
/// let Some(Reply::Outcome(reply)) = scheduler.poll_reply(now, port) else { panic!() };
/// assert_eq!((reply.task, reply.outcome), (TaskId(42), Outcome::Completed));
/// assert!(scheduler.is_idle());
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    stats: Stats,
    /// From accept to start, and to outcome, in microseconds.
    waits: Histogram,
    latencies: Histogram,
    /// When something was told last that may have started or ended a task. What makes no sense
    /// leaves it as it is.
    seen_at: Instant,

    tasks: Slab,
    /// By client and the client's number; parts of a multicast are not in it.
    task_index: Index,
    wheel: Wheel,
    /// What waits for credit.
    backlogs: Backlogs,
    /// Of tasks that were lost or have failed.
    histories: Histories,
    crews: Crews,
    /// Labels for which an offer can be made, or a better place be looked for.
    placing: List<Placing>,
    /// Choosy tasks of all labels.
    choosy_waiting: u32,
    /// Workers at which offers wait behind something else.
    overloaded: u32,
    /// Queued tasks to be withdrawn; out of the list once the effect was given out.
    revokes: List<Place>,
    /// Ended tasks without a client.
    releases: List<Place>,
    /// Multicasts with parts to be made; those of the first are being made.
    making: List<Place>,
    /// Cancelled multicasts whose parts are all made.
    cancelling: List<Place>,
    /// Envelopes in the pool.
    pool: Window,
    /// The tasks of those that are not tombstones.
    pooled: List<Place>,

    workers: Vec<WorkerRecord>,
    free_workers: List<Exit>,
    /// Those that are up, by name.
    names: Index,
    roster: List<Roster>,
    /// Where in the roster the next part of the first of `making` goes.
    next_target: Option<u32>,
    ready: List<Ready>,
    /// Longest gone first.
    /// Apart: those that were lost when we had not run for a while, who have another grace.
    suspects: [List<Exit>; 2],
    grants: carried::Grants,
    /// Suspects, and places at which tasks wait for a name, by name.
    ghosts: Index,
    heirs: List<Heirs>,
    leaving: List<Exit>,
    drained: List<Exit>,
    workers_up: u32,
    /// Sum over all workers that may be given something, prefetch places included.
    free_slots: u32,
    /// Registrations admitted, ever.
    epochs: u32,
    /// Workers lost, ever.
    losses: u32,

    clients: Vec<ClientRecord>,
    free_clients: List<Shelf>,
    client_index: Index,
    detached: List<Shelf>,
    chores: List<Chore>,
    /// Clients, ever.
    client_numbers: u64,
    early: early::EarlyTable,
    /// Longest first.
    awaiting_results: List<Place>,
    notices: notices::Notices,

    /// Tasks of which queue control waits to hear whether they are given back.
    removing: u32,
    /// Orders of queue control, first come first served.
    sweeps: ArrayVec<sweeps::SweepRecord, { Self::SWEEPS_MAX }>,

    ports: Vec<PortRecord>,
    due_ports: List<Due>,

    /// Whether the next poll looks at housekeeping before offers, so that neither starves the
    /// other.
    chores_first: bool,
    /// Whether the next poll looks at offers before directed tasks.
    offers_first: bool,
    /// The last poll ended because it had done enough, not because nothing was left.
    unfinished: bool,
}

impl Scheduler {
    /// An empty scheduler of this size. Nothing is allocated afterwards; the pages of places that
    /// are never used are never touched.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            stats: Stats::default(),
            waits: Histogram::new(),
            latencies: Histogram::new(),
            seen_at: Instant(0),
            tasks: Slab::new(limits.tasks()),
            task_index: Index::new(limits.tasks()),
            wheel: Wheel::new(),
            backlogs: Backlogs::new(limits.tasks(), limits.workers(), 1 + limits.labels()),
            histories: Histories::new(limits.tasks()),
            crews: Crews::new(limits.labels(), limits.workers()),
            placing: List::new(),
            choosy_waiting: 0,
            overloaded: 0,
            revokes: List::new(),
            releases: List::new(),
            making: List::new(),
            cancelling: List::new(),
            pool: Window::new(limits.pool()),
            pooled: List::new(),
            workers: Vec::with_capacity(limits.workers() as usize),
            free_workers: List::new(),
            names: Index::new(limits.workers()),
            roster: List::new(),
            next_target: None,
            ready: List::new(),
            suspects: [List::new(); 2],
            grants: carried::Grants::new(limits.workers()),
            ghosts: Index::new(limits.workers()),
            heirs: List::new(),
            leaving: List::new(),
            drained: List::new(),
            workers_up: 0,
            free_slots: 0,
            epochs: 0,
            losses: 0,
            clients: Vec::with_capacity(limits.clients() as usize),
            free_clients: List::new(),
            client_index: Index::new(limits.clients()),
            detached: List::new(),
            chores: List::new(),
            client_numbers: 0,
            early: early::EarlyTable::new(limits.tasks(), limits.workers()),
            awaiting_results: List::new(),
            notices: notices::Notices::new(limits.tasks()),
            removing: 0,
            sweeps: ArrayVec::new(),
            ports: (0..limits.ports()).map(|_| PortRecord::new()).collect(),
            due_ports: List::new(),
            chores_first: false,
            offers_first: false,
            unfinished: false,
        }
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The capacities that it was made with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether every task has its outcome. (Outcomes may still wait for their clients.)
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.stats.open == 0
    }

    /// How many workers are attached.
    #[must_use]
    pub const fn workers_up(&self) -> u32 {
        self.workers_up
    }

    /// How many task records are taken: open tasks, and outcomes that are kept or on their way.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        self.tasks.live()
    }

    /// How many tasks a worker runs at once, how many more it may be sent, and how many slots
    /// attempts of its earlier incarnations still take. All zero for a worker that is not attached.
    #[must_use]
    pub fn worker_slots(&self, worker: WorkerId) -> WorkerSlots {
        let record = self
            .workers
            .get(worker.0 as usize)
            .filter(|record| record.is_up());
        record.map_or(WorkerSlots::default(), |record| WorkerSlots {
            slots: record.slots,
            prefetch: record.prefetch,
            busy: record.busy,
        })
    }

    /// The port that this client is attached to; `None` when it is not. A driver with several ports
    /// drops a [`handle_client_down`](Self::handle_client_down) that comes from any other: the
    /// client has moved.
    #[must_use]
    pub fn client_port(&self, client: ClientId) -> Option<PortId> {
        let index = self.find_client_up(client)?;
        Some(self.clients[index as usize].port)
    }

    /// Puts a port on the list of those with replies due.
    fn mark_port(&mut self, port: PortId) {
        let index = u32::from(port.0);
        if !self.ports[index as usize].due.is_linked() {
            self.due_ports.push_back(&mut self.ports, index);
        }
    }

    /// Whether this port exists.
    fn has_port(&self, port: PortId) -> bool {
        usize::from(port.0) < self.ports.len()
    }
}

/// What one step of housekeeping did.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// There was nothing to do.
    Idle,
    /// Something that the driver need not know.
    Silent,
    /// Something that the driver must do.
    Effect(crate::effect::Effect),
}
