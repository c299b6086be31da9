//! One client: its session, its tasks, and the outcomes that wait for it.
//!
//! ```text
//!   open ──ended──▶ due ──sent──▶ unacked ──acknowledged──▶ (released)
//!                    ▲               │
//!                    └─ next session ┘
//! ```
//! A client that keeps no outcomes has nothing unacked: what was sent is over.

use crate::id::{ClientId, PortId};
use crate::list::{Link, List, linked};
use crate::scheduler::Noted;
use crate::task::Owned;
use crate::time::Instant;

/// Role: clients of a port with outcomes due.
pub(crate) enum Turn {}
/// Role: clients with housekeeping to do.
pub(crate) enum Chore {}
/// Role: clients that are gone and may come back, longest gone first; or places that are free.
pub(crate) enum Shelf {}

/// Whether a client is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// Nobody: the place may be given out.
    Free,
    /// Attached to its port.
    Up,
    /// Its connection is gone; it may come back.
    Detached,
    /// Gone for good; what it had is being forgotten.
    Purging,
}

/// The record of one client.
#[derive(Debug)]
pub(crate) struct ClientRecord {
    pub(crate) key: u128,
    /// The number that no other client of this scheduler has or had.
    pub(crate) number: u64,
    pub(crate) session: u32,
    pub(crate) port: PortId,
    pub(crate) state: ClientState,
    /// Outcomes stay until they are acknowledged.
    pub(crate) keeps: bool,
    /// A new session began: unacked outcomes go back to `due` once the acknowledged ones are
    /// released.
    pub(crate) resuming: bool,
    /// Records that it occupies: tasks, parts, and outcomes not acknowledged.
    pub(crate) held: u32,
    /// Bytes of its payloads and results that are stored.
    pub(crate) held_bytes: u64,
    /// Outcomes that were sent in this session and not acknowledged, and their bytes.
    pub(crate) unread: u32,
    pub(crate) unread_bytes: u64,
    /// The number of the outcome sent last in this session.
    pub(crate) sent: u32,
    /// The last outcome that it has.
    pub(crate) acked: u32,
    /// Output that it was not told of, since it was last told of some.
    pub(crate) output_missed: u16,
    /// Since when it is gone.
    pub(crate) detached_at: Instant,
    /// What it is to be told of tasks that have no outcome yet.
    pub(crate) notices: List<Noted>,
    pub(crate) open: List<Owned>,
    pub(crate) due: List<Owned>,
    pub(crate) unacked: List<Owned>,
    pub(crate) turn: Link,
    pub(crate) chore: Link,
    pub(crate) shelf: Link,
}

linked!(ClientRecord, Turn, turn);
linked!(ClientRecord, Chore, chore);
linked!(ClientRecord, Shelf, shelf);

impl ClientRecord {
    /// A place that nobody has.
    pub(crate) const fn vacant() -> Self {
        Self {
            key: 0,
            number: 0,
            session: 0,
            port: PortId(0),
            state: ClientState::Free,
            keeps: false,
            resuming: false,
            held: 0,
            held_bytes: 0,
            unread: 0,
            unread_bytes: 0,
            sent: 0,
            acked: 0,
            output_missed: 0,
            detached_at: Instant(0),
            notices: List::new(),
            open: List::new(),
            due: List::new(),
            unacked: List::new(),
            turn: Link::UNLINKED,
            chore: Link::UNLINKED,
            shelf: Link::UNLINKED,
        }
    }

    /// The id under which the client knows itself.
    pub(crate) const fn id(&self, index: u32) -> ClientId {
        ClientId::new(index, self.number)
    }

    /// Whether it is attached.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.state, ClientState::Up)
    }

    /// Whether outcomes may be sent to it now.
    pub(crate) const fn may_receive(&self) -> bool {
        matches!(self.state, ClientState::Up) && !self.resuming
    }
}
