//! Bytes: how many payloads and results are held, and how much a client may leave unread.
//!
//! ```text
//!   submit ──▶ payload_bytes ──ended──▶ (dropped)
//!                                result ──▶ result_bytes ──acknowledged──▶ (dropped)
//!              refused past `payload_bytes`     dropped past `payload_bytes + result_bytes`
//! ```
//! Both count against the same limit, so a client that does not read what it asked for cannot ask
//! for more. Past that limit only results still come in, since somebody has worked for them; past
//! the second one an attempt with a result counts as failed without one.
//!
//! An outcome that was sent lies in the transport until the client reads it. So a client is sent no
//! more than its *window* before it acknowledges; what is over waits in the table, where it is
//! counted. Everything here is a sum that is kept up to date: no step costs more than before.

use super::Scheduler;
use crate::client::ClientRecord;
use crate::config::Limits;
use crate::id::TaskHandle;
use crate::list::NIL;

impl Scheduler {
    /// Whether a result of so many bytes may be stored now. If not, the driver drops its payload
    /// and passes the report on as [`Failed`](crate::Verdict::Failed).
    #[must_use]
    pub fn has_room_for_result(&self, bytes: u64) -> bool {
        let held = self.bytes_held().saturating_add(bytes);
        held <= self
            .limits
            .payload_bytes()
            .saturating_add(self.limits.result_bytes())
    }

    /// The driver has stored a result of so many bytes for a task that has just ended, or for an
    /// early result that is kept.
    pub fn handle_result_stored(&mut self, handle: TaskHandle, bytes: u32) {
        let Some(index) = self.tasks.find(handle) else {
            return;
        };
        let record = &mut self.tasks.records[index as usize];
        let before = record.set_result_bytes(bytes);
        let owner = record.client;
        self.stats.result_bytes += u64::from(bytes);
        self.stats.result_bytes -= u64::from(before);
        if owner != NIL {
            let client = &mut self.clients[owner as usize];
            client.held_bytes += u64::from(bytes);
            client.held_bytes = client.held_bytes.saturating_sub(before.into());
        }
    }

    /// Bytes of all that is stored.
    pub(super) const fn bytes_held(&self) -> u64 {
        self.stats.payload_bytes + self.stats.result_bytes
    }

    /// The record is about to be free: its result is dropped with it.
    pub(super) fn drop_result_bytes(&mut self, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        let bytes = u64::from(record.set_result_bytes(0));
        let owner = record.client;
        self.stats.result_bytes -= bytes;
        if bytes > 0 && owner != NIL {
            let client = &mut self.clients[owner as usize];
            client.held_bytes = client.held_bytes.saturating_sub(bytes);
        }
    }
}

impl ClientRecord {
    /// Whether it may be sent another outcome before it acknowledges one.
    pub(crate) const fn has_window(&self, limits: &Limits) -> bool {
        !self.keeps
            || (self.unread < limits.outcomes_unread()
                && self.unread_bytes < limits.outcome_bytes_unread())
    }
}
