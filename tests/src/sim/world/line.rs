//! The lines between processes and ports: first in, first out, cut at any moment, standing still at
//! times. What one end says after a cut never arrives; what was under way arrives in part.

use std::collections::VecDeque;

use taskyard_core::{
    ClientHello, ClientId, Instant, OutcomeReply, Registration, Report, Submit, TaskId,
};

use crate::sim::fact::{Job, Post};
use crate::sim::rng::Rng;

/// What a port knows of whoever is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side<T> {
    /// Nothing yet.
    New,
    /// Its hello or registration is with the dispatcher.
    Asked,
    /// Admitted.
    Open(T),
    /// Gone, or sent away.
    Closed,
}

/// From a worker process to its port.
#[derive(Clone, Copy, Debug)]
pub(super) enum FromWorker {
    /// With the process that says so.
    HandIn(u64, Report),
    /// The same: it still runs that.
    StillRuns(u64, Job),
    Register(Registration),
    Result(Report),
    SlotFreed,
    Started(Job),
    GivenBack(Job),
    Gone,
}

/// From a port to a worker process.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToWorker {
    /// A task, and whether it is sent ahead of a slot.
    Deliver(Job, bool),
    Recall(Job),
    /// The result of this attempt has arrived.
    Ack(Job),
    Abort(Job),
    Registered(Post),
    Closed,
}

/// From a client process to its port.
#[derive(Clone, Copy, Debug)]
pub(super) enum FromClient {
    Hello(ClientHello),
    Submit(Submit),
    Cancel(TaskId),
    Ack(u32),
    Goodbye,
    Gone,
}

/// From a port to a client process.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToClient {
    Welcome(ClientId),
    Refused,
    Outcome(OutcomeReply),
}

/// The key of no client.
pub(super) const NOBODY: u64 = u64::MAX;

/// One connection.
#[derive(Debug)]
pub(super) struct Line<Up, Down, T> {
    /// A client's key; [`NOBODY`] once it has come back on another line of the same port.
    pub(super) key: u64,
    pub(super) up: VecDeque<Up>,
    pub(super) down: VecDeque<Down>,
    pub(super) side: Side<T>,
    pub(super) clogged_until: Instant,
    /// Attempts that were sent and have not come back, for a worker.
    pub(super) out: Vec<(Job, bool)>,
    /// Of these: sent ahead, and not known to have started.
    pub(super) ahead: Vec<Job>,
    pub(super) slots: usize,
    pub(super) prefetch: usize,
    pub(super) busy: usize,
    /// Takes nothing, by order.
    pub(super) paused: bool,
}

pub(super) type WorkerLine = Line<FromWorker, ToWorker, Post>;
pub(super) type ClientLine = Line<FromClient, ToClient, ClientId>;

impl<Up, Down, T: Copy> Line<Up, Down, T> {
    pub(super) const fn new(key: u64) -> Self {
        Self {
            key,
            up: VecDeque::new(),
            down: VecDeque::new(),
            side: Side::New,
            clogged_until: Instant(0),
            out: Vec::new(),
            ahead: Vec::new(),
            slots: 0,
            prefetch: 0,
            busy: 0,
            paused: false,
        }
    }

    /// The process is gone, or gives up: of what it had said some arrives, and then its end.
    pub(super) fn cut(&mut self, rng: &mut Rng, gone: Up, shows_at: Instant) {
        self.clogged_until = self.clogged_until.max(shows_at);
        let arrives = rng.place(self.up.len() + 1);
        self.up.truncate(arrives);
        self.up.push_back(gone);
        self.down.clear();
    }

    pub(super) const fn opened(&self) -> Option<T> {
        match self.side {
            Side::Open(peer) => Some(peer),
            _ => None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.side, Side::Closed)
    }

    /// Tasks that it takes beyond its free slots.
    pub(super) const fn places(&self) -> usize {
        (self.slots + self.prefetch).saturating_sub(self.busy + self.out.len())
    }

    pub(super) const fn free(&self) -> usize {
        self.slots.saturating_sub(self.busy + self.out.len())
    }
}
