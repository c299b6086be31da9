//! One task: its record, its states, and how it ends.
//!
//! ```text
//!              ┌──────────────── re-run (front) ─────────────────┐
//!              ▼                                                 │
//!  ──▶ Backlogged ──offer / inject──▶ Queued ──claimed──▶ Running┴─▶ Done
//!          │  ▲                     │ cancel,      │  ▲       │ cancel,
//!          │  └─ returned ───┐      │ deadline,    │  │       │ deadline
//!          │ cancel,         │      ▼ worker lost  │  │       ▼
//!          │ deadline        │   Revoking ──Lost───┴──┤    Aborting ──▶ Done
//!          ▼                 │      │      (mailbox)  │
//!        Done                │      │ Won             │ claimed
//!                            │      ▼                 │
//!                            │    Done    ──Lost──▶ Taken (pool)
//! ```
//!
//! * `Prefetched` (not drawn) lies between `Queued` and `Running` for a worker that takes tasks
//!   ahead of its slots: it was sent, and is not known to have started. The worker says `started`,
//!   or gives it back when asked to; see `scheduler/prefetch.rs`.
//! * `Queued` in a mailbox may already be running there: nobody reports the claim of a directed
//!   task. A revoke finds out, and so does the result.
//! * `Taken`: a revoke lost, so somebody took it from the pool; its `Claimed` is on the way.
//! * What should become of a task that cannot end yet (`Revoking`, `Taken`, `Aborting`) is its
//!   [`Wish`].
//! * `Done` waits for its client. `Releasing` waits until the driver was told to drop the payload.
//! * A multicast is one `Spread` record and one part per worker; a part lives like a directed task.
//! * An *orphan* (no client) has no outcome; it only waits until whoever claimed it has settled.

use crate::id::{Attempt, Epoch, Priority, Stamp, TaskHandle, TaskId, WorkerId};
use crate::list::{Link, List, NIL, linked};
use crate::outcome::{Deadline, Outcome};
use crate::time::{Instant, Micros, Tick};

/// Role: where the task waits (a backlog, a worker's assignments, the tasks to revoke, …).
pub(crate) enum Place {}
/// Role: whose it is (its client's open tasks, its multicast's parts, its client's outcomes).
pub(crate) enum Owned {}
/// Role: a place of the timer wheel.
pub(crate) enum Timed {}

/// The topic of a task, in four bytes; see [`Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(u32);

/// Which workers may run a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// All.
    Any,
    /// The one at this place.
    Worker(u32),
    /// Those that have the label at this place.
    Label(u32),
}

impl Home {
    /// Of a task that any worker may run.
    pub(crate) const ANY: Self = Self(0);
    /// Beyond every place of the worker table.
    const LABELS: u32 = 1 << 17;

    /// Of a task for one worker.
    #[inline]
    pub(crate) const fn worker(place: u32) -> Self {
        Self(1 + place)
    }

    /// Of a task for the workers that have a label.
    pub(crate) const fn label(label: u32) -> Self {
        Self(Self::LABELS + label)
    }

    /// Taken apart.
    #[inline]
    pub(crate) const fn route(self) -> Route {
        match self.0 {
            0 => Route::Any,
            bits if bits < Self::LABELS => Route::Worker(bits - 1),
            bits => Route::Label(bits - Self::LABELS),
        }
    }

    /// The place of the only worker, of a task for one.
    #[inline]
    pub(crate) const fn place(self) -> Option<u32> {
        let place = self.0.wrapping_sub(1);
        if place < Self::LABELS - 1 {
            Some(place)
        } else {
            None
        }
    }

    /// As a number.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

/// Where a task is in its life; the module's diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Nobody: the record may be given out.
    Free,
    /// Waits in the core for credit.
    Backlogged,
    /// Out in an envelope, claimable.
    Queued,
    /// To be withdrawn, or being so.
    Revoking,
    /// Claimed from the pool, by whom is not told yet.
    Taken,
    /// Sent to its worker ahead of a slot, and not known to have started. With a wish, the worker
    /// was or will be asked to give it back.
    Prefetched,
    /// Claimed by its worker.
    Running,
    /// Claimed by an incarnation that is gone, and still run by its process, which is back; see
    /// `scheduler/carried.rs`.
    Carried,
    /// It may run at most once, and may have run in another controller's time: it waits for a
    /// worker that has its result; see `scheduler/early.rs`.
    Awaiting,
    /// Given out in another controller's time, and still run by a worker that is attached here.
    Adopted,
    /// A result from another controller's time, that waits for its client; it has no owner.
    Early,
    /// Claimed by its worker, which was or will be asked to stop.
    Aborting,
    /// A multicast whose parts are made or are out.
    Spread,
    /// Has its outcome.
    Done,
    /// Has nothing any more but a payload that the driver must drop.
    Releasing,
}

impl TaskState {
    /// Whether it runs, as far as is known.
    pub(crate) const fn has_started(self) -> bool {
        matches!(self, Self::Running | Self::Carried | Self::Aborting)
    }
}

/// What shall become of a task once its claim is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing particular.
    None,
    /// The client cancelled it.
    Cancel,
    /// Its client is gone: it shall not start, but may finish.
    Forget,
    /// Its worker is gone.
    Lose,
    /// It is queued control's to be taken away, unless it has started.
    Remove,
    /// Another worker is hungry, and could run it.
    Reoffer,
    /// A deadline passed.
    TimeOut(Deadline),
}

impl Wish {
    /// Whether a cancel or a deadline comes before it.
    pub(crate) const fn yields(self) -> bool {
        !matches!(
            self,
            Self::Cancel | Self::Forget | Self::TimeOut(Deadline::Finish)
        )
    }

    /// What is left of it when the task turns out to have started.
    pub(crate) const fn once_started(self) -> Self {
        match self {
            Self::Cancel | Self::TimeOut(Deadline::Finish) => self,
            _ => Self::None,
        }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// No end yet.
    None,
    Completed,
    Failed,
    WorkerLost,
    Cancelled {
        started: bool,
    },
    TimedOut(Deadline),
    /// All parts of a multicast have ended.
    Summary,
}

/// What kind of record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ordinary task.
    Single,
    /// One worker's share of a multicast.
    Part,
    /// The multicast itself.
    Multicast,
}

/// What only a multicast has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Parts that have no outcome yet.
    pub(crate) open: List<Owned>,
    /// How many workers it is addressed to. Of a task that is no multicast: the microsecond in
    /// which it was accepted.
    pub(crate) total: u32,
    /// Parts that have no record yet; their places are reserved.
    pub(crate) unmade: u32,
    /// Parts that completed.
    pub(crate) completed: u32,
    /// How many workers had been lost, ever, when it was submitted: later losses were addressed. Of
    /// a task that is no multicast: the bytes of its stored result.
    pub(crate) losses: u32,
}

impl Parts {
    /// Of a task that is no multicast.
    pub(crate) const NONE: Self = Self {
        open: List::new(),
        total: 0,
        unmade: 0,
        completed: 0,
        losses: 0,
    };
}

/// Whether a task waits for its worker's return, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    No,
    /// It asked to.
    AsAsked,
    /// Its worker's name was back when it was lost: it is taken over, or ends with that.
    ForHeir,
}

/// The record of one task. The generation and the stamp outlive the tenant.
#[derive(Debug)]
pub(crate) struct TaskRecord {
    /// How many tenants the place had, this one included.
    pub(crate) generation: u64,
    /// The latest publish of this place.
    pub(crate) stamp: Stamp,
    /// The client's number for it.
    pub(crate) task: TaskId,
    /// When `start_within` is over; [`Instant::NEVER`] without.
    pub(crate) start_at: Instant,
    /// When `finish_within` is over; while aborting, when the worker's grace is.
    pub(crate) finish_at: Instant,
    /// How long it waits for its worker's return; while it does, when that is over.
    pub(crate) hold_until: Instant,
    pub(crate) place: Link,
    pub(crate) owned: Link,
    pub(crate) timed: Link,
    pub(crate) parts: Parts,
    /// Its client, or [`NIL`] for an orphan.
    pub(crate) client: u32,
    /// Its topic.
    pub(crate) home: Home,
    /// The workers that lost or failed it, or [`NIL`] for none.
    pub(crate) history: u32,
    /// The tick in which it was accepted.
    pub(crate) born: Tick,
    /// The worker that has it, or had it last, or [`NIL`].
    pub(crate) worker: u32,
    /// The incarnation of `worker`.
    pub(crate) epoch: Epoch,
    /// The incarnation that lost the attempt before this one; zero if none was lost (rule R6).
    pub(crate) lost_epoch: Epoch,
    /// Of a part: its multicast, or [`NIL`]. Of all others: the bytes of its payload.
    pub(crate) multicast_or_bytes: u32,
    /// What matters in one state only: the flow that it waits in; the tick since when it is known
    /// to run; the microsecond in which it was accepted, of a multicast that is spread; the number
    /// under which its outcome was sent last, or zero.
    pub(crate) detail: u32,
    pub(crate) state: TaskState,
    pub(crate) wish: Wish,
    pub(crate) ending: Ending,
    pub(crate) kind: Kind,
    /// The execution that it is in, or that would be next; all before it were started and lost.
    /// Once it is done: how many were started.
    pub(crate) attempt: Attempt,
    /// How many attempts may be lost, the last one included.
    pub(crate) attempts_max: u8,
    /// How many failures may be followed by another attempt.
    pub(crate) retries_max: u8,
    /// How many have been.
    pub(crate) retries: u8,
    pub(crate) priority: Priority,
    /// Its latest envelope went into a mailbox, not into the pool.
    pub(crate) by_mail: bool,
    /// It would rather not go to the workers of its history.
    pub(crate) choosy: bool,
    /// Whether it waits for its worker's return.
    pub(crate) held: Held,
    /// `start_within` matters no longer: it has started, or the time is up.
    pub(crate) start_settled: bool,
    /// In the list of aborts, or of what is to be asked back, instead of the worker's others.
    pub(crate) abort_due: bool,
    /// Its worker was given up because it did not answer the abort of this task.
    pub(crate) grace_over: bool,
    /// A part that the cancel of its multicast has visited.
    pub(crate) cancel_seen: bool,
    /// The stored payload is a result.
    pub(crate) has_result: bool,
    /// Its worker has come back and says that it still runs it.
    pub(crate) carried: bool,
    /// Another controller may have given it out before.
    pub(crate) resent: bool,
}

// A million of them are a large table. With its share of the index (16 at most), its claim word
// (8) and its payload's cell (80), a waiting task takes at most 256 bytes.
const _: () = assert!(size_of::<TaskRecord>() <= 152);

linked!(TaskRecord, Place, place);
linked!(TaskRecord, Owned, owned);
linked!(TaskRecord, Timed, timed);

impl TaskRecord {
    /// Whether it waits for its worker's return.
    pub(crate) const fn is_held(&self) -> bool {
        !matches!(self.held, Held::No)
    }

    /// A place that nobody has had.
    pub(crate) const fn untouched() -> Self {
        Self {
            generation: 0,
            stamp: Stamp(0),
            task: TaskId(0),
            start_at: Instant::NEVER,
            finish_at: Instant::NEVER,
            hold_until: Instant(0),
            place: Link::UNLINKED,
            owned: Link::UNLINKED,
            timed: Link::UNLINKED,
            parts: Parts::NONE,
            client: NIL,
            home: Home::ANY,
            history: NIL,
            born: Tick(0),
            worker: NIL,
            epoch: Epoch(0),
            lost_epoch: Epoch(0),
            multicast_or_bytes: 0,
            detail: 0,
            state: TaskState::Free,
            wish: Wish::None,
            ending: Ending::None,
            kind: Kind::Single,
            attempt: Attempt(1),
            attempts_max: 1,
            retries_max: 0,
            retries: 0,
            priority: Priority::DEFAULT,
            by_mail: false,
            choosy: false,
            held: Held::No,
            start_settled: false,
            abort_due: false,
            grace_over: false,
            cancel_seen: false,
            has_result: false,
            carried: false,
            resent: false,
        }
    }

    /// Makes it as good as untouched for the next tenant, but for what outlives tenants and for
    /// what the next one says of itself.
    #[inline]
    pub(crate) fn renew(&mut self) {
        debug_assert!(!self.place.is_linked() && !self.owned.is_linked());
        debug_assert!(!self.timed.is_linked());
        if self.kind == Kind::Multicast {
            self.parts = Parts::NONE;
        }
        self.history = NIL;
        self.worker = NIL;
        self.epoch = Epoch(0);
        self.lost_epoch = Epoch(0);
        self.detail = 0;
        self.wish = Wish::None;
        self.ending = Ending::None;
        self.kind = Kind::Single;
        self.attempt = Attempt(1);
        self.retries = 0;
        self.by_mail = false;
        self.choosy = false;
        self.held = Held::No;
        self.start_settled = false;
        self.abort_due = false;
        self.grace_over = false;
        self.cancel_seen = false;
        self.has_result = false;
        self.carried = false;
    }

    /// The handle of the present tenant.
    #[inline]
    pub(crate) const fn handle(&self, index: u32) -> TaskHandle {
        TaskHandle::new(index, self.generation)
    }

    /// The multicast that it is a part of, or [`NIL`].
    #[inline]
    pub(crate) const fn multicast(&self) -> u32 {
        match self.kind {
            Kind::Part => self.multicast_or_bytes,
            Kind::Single | Kind::Multicast => NIL,
        }
    }

    /// Makes it a part of this multicast; of none, with [`NIL`].
    pub(crate) const fn set_multicast(&mut self, whole: u32) {
        if matches!(self.kind, Kind::Part) {
            self.multicast_or_bytes = whole;
        }
    }

    /// How many bytes its payload has. Those of a part are its multicast's.
    #[inline]
    pub(crate) const fn bytes(&self) -> u32 {
        match self.kind {
            Kind::Part => 0,
            Kind::Single | Kind::Multicast => self.multicast_or_bytes,
        }
    }

    /// Notes how many bytes its stored result has; how many it had.
    pub(crate) const fn set_result_bytes(&mut self, bytes: u32) -> u32 {
        match self.kind {
            Kind::Single | Kind::Part => core::mem::replace(&mut self.parts.losses, bytes),
            Kind::Multicast => 0,
        }
    }

    /// How many bytes its stored result has.
    pub(crate) const fn result_bytes(&self) -> u32 {
        match self.kind {
            Kind::Single | Kind::Part => self.parts.losses,
            Kind::Multicast => 0,
        }
    }

    /// Notes when it was accepted, of a task that is no multicast.
    #[inline]
    pub(crate) const fn set_accepted_at(&mut self, at: Micros) {
        self.parts.total = at.0;
    }

    /// When it was accepted, of a task that is no multicast.
    #[inline]
    pub(crate) const fn accepted_at(&self) -> Micros {
        Micros(self.parts.total)
    }

    /// Notes how many bytes its payload has.
    pub(crate) const fn set_bytes(&mut self, bytes: u32) {
        self.multicast_or_bytes = bytes;
    }

    /// The only worker that may run it.
    #[inline]
    pub(crate) const fn target(&self) -> Option<u32> {
        self.home.place()
    }

    /// Whether only one worker may run it.
    #[inline]
    pub(crate) const fn is_directed(&self) -> bool {
        self.home.place().is_some()
    }

    /// Whether nobody waits for its outcome.
    #[inline]
    pub(crate) const fn is_orphan(&self) -> bool {
        self.client == NIL
    }

    /// Whether an earlier attempt was started: attempts rise by a loss or a failure only (R4).
    pub(crate) const fn started_before(&self) -> bool {
        self.attempt.0 > 1
    }

    /// Whether it may go on after this attempt was lost.
    pub(crate) const fn may_rerun(&self) -> bool {
        let losses = self.attempt.0 - self.retries;
        losses < self.attempts_max && self.attempt.0 < u8::MAX
    }

    /// Whether it may go on after this attempt has failed.
    pub(crate) const fn may_retry(&self) -> bool {
        self.retries < self.retries_max && self.attempt.0 < u8::MAX
    }

    /// Whether it is in somebody's hands, by what the core knows: believed queued counts for what
    /// went into a mailbox, because nobody reports its claim.
    #[inline]
    pub(crate) fn is_with(&self, worker: WorkerId, epoch: Epoch) -> bool {
        let out = match self.state {
            TaskState::Prefetched
            | TaskState::Running
            | TaskState::Carried
            | TaskState::Aborting => true,
            TaskState::Queued | TaskState::Revoking => self.by_mail,
            _ => false,
        };
        out && self.worker == worker.0 && self.epoch == epoch
    }

    /// When its timer is due.
    pub(crate) fn due_at(&self) -> Instant {
        let due = match self.start_settled {
            true => self.finish_at,
            false => self.finish_at.min(self.start_at),
        };
        if self.is_held() {
            due.min(self.hold_until)
        } else {
            due
        }
    }

    /// What the client is told.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.ending {
            Ending::Completed => Outcome::Completed,
            Ending::Failed => Outcome::Failed,
            Ending::Cancelled { started } => Outcome::Cancelled { started },
            Ending::TimedOut(deadline) => Outcome::TimedOut(deadline),
            Ending::Summary => Outcome::Summary {
                parts: self.parts.total,
                completed: self.parts.completed,
            },
            Ending::WorkerLost | Ending::None => Outcome::WorkerLost,
        }
    }
}
