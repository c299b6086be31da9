//! Waiting for room in a full ring, without making the other side look for waiters all the time.
//!
//! # Protocol
//!
//! | producer | consumer |
//! | --- | --- |
//! | P1 find the ring full | C1 pop |
//! | P2 [`want`](RoomFlag::want): swap to true (AcqRel) | C2 after a drain, [`answer`](RoomFlag::answer): swap to false (AcqRel) |
//! | P3 look at the ring again; only if it is still full, sleep | C3 if it was true: wake the producer |
//!
//! **The race to avoid:** the consumer drains and looks for a waiter just before the producer
//! announces, and the producer has looked at the ring just before the drain: both go to sleep.
//! **Why it cannot be:** P2 and C2 are read-modify-writes of one word, so one comes first. If P2
//! does, C2 sees `true`, and C3 follows. If C2 does, P2 reads what it wrote, which is released
//! after C1, so P3 sees the room.

use crate::sync::{AtomicBool, ordering};

/// "The producer waits for room": set by the producer, answered by the consumer.
#[derive(Debug)]
pub struct RoomFlag {
    /// Written by both sides, by read-modify-writes only.
    wanted: AtomicBool,
}

impl Default for RoomFlag {
    fn default() -> Self {
        Self {
            wanted: AtomicBool::new(false),
        }
    }
}

impl RoomFlag {
    /// Producer: announces the wait. Look at the ring once more after this, before sleeping.
    pub fn want(&self) {
        // Ordering: Acquire pairs with the Release of `answer`, so that the second look sees the
        // drain that came before it; Release hands our earlier pushes to it. Canary: room.want.
        self.wanted.swap(true, ordering!("room.want", AcqRel));
    }

    /// Consumer, after a drain: whether somebody waits, who must be woken now.
    #[must_use]
    pub fn answer(&self) -> bool {
        // Ordering: Release publishes the drain to the `want` that comes next; Acquire pairs with
        // its Release. Canary: room.answer.
        self.wanted.swap(false, ordering!("room.answer", AcqRel))
    }
}
