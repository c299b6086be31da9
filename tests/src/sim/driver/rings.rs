//! What goes through the rings: payloads that are only numbers, events and replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use taskyard_core::{
    ClientHello, ClientId, Envelope, OutcomeReply, Registration, Report, Source, Submit, TaskId,
    Token, WorkerSlots,
};
use taskyard_dispatcher::{Consumer, Payload, Producer, Stealer, TaskClaimant};

use crate::sim::fact::{Job, Post};

/// A payload that is only a number, and knows how many of its kind live.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) number: u64,
    living: Arc<AtomicI64>,
}

/// Makes payloads, and counts those that live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mint(Arc<AtomicI64>);

impl Mint {
    pub(crate) fn make(&self, number: u64) -> Load {
        self.0.fetch_add(1, Ordering::Relaxed);
        Load {
            number,
            living: Arc::clone(&self.0),
        }
    }

    pub(crate) fn living(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Payload for Load {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, _: usize) -> Option<&[u8]> {
        None
    }

    fn share(&self) -> Self {
        self.living.fetch_add(1, Ordering::Relaxed);
        Self {
            number: self.number,
            living: Arc::clone(&self.living),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

/// From a port to the dispatcher.
#[derive(Debug)]
pub(crate) enum Event {
    ClientUp(ClientHello),
    ClientDown(ClientId),
    Goodbye(ClientId),
    Submit(ClientId, Submit, Load),
    Cancel(ClientId, TaskId),
    Ack(ClientId, u32),
    WorkerUp(Registration),
    WorkerDown(Post),
    Drained(Post, Consumer<Envelope>),
    Claimed(Job),
    /// Claimed from the pool, and sent ahead.
    Prefetched(Job),
    Started(Job),
    GivenBack(Job),
    Discarded(Source),
    Returned(Job),
    Reported(Report, Option<Load>),
    /// The process that says so comes first.
    HandedIn(u64, Report, Option<Load>),
    /// The same.
    StillRuns(u64, Job),
    SlotFreed(Post),
    Paused(Post),
}

/// From the dispatcher to a port.
#[derive(Debug)]
pub(crate) enum Reply {
    Welcome(Token, ClientId),
    HelloRefused(Token),
    Outcome(OutcomeReply, Option<Load>),
    Registered(Token, Post, WorkerSlots, Consumer<Envelope>),
    Pause(Post, bool),
    NotRegistered(Token),
    Abort(Job),
    Recall(Job),
    Evict(Post),
    Retire(Post),
}

/// A port's ends of the rings, and its copies of what all share.
#[derive(Debug)]
pub(crate) struct PortEnds {
    pub(crate) events: Producer<Event>,
    pub(crate) replies: Consumer<Reply>,
    pub(crate) pool: Stealer<Envelope>,
    pub(crate) tasks: TaskClaimant<Load>,
}
