//! What tasks print: whose it is. The text itself is the driver's, and is kept nowhere.
//!
//! Output is passed on at once or dropped: it waits for nobody, so it holds nothing up. Since it is
//! passed on before anything else that its worker has said is looked at, no client reads a task's
//! output behind its outcome.

use super::Scheduler;
use crate::effect::OutputReply;
use crate::event::{AttemptAt, Printed};
use crate::id::PortId;
use crate::list::NIL;
use crate::time::Instant;

impl Scheduler {
    /// A worker process passes on what an attempt has printed. It goes to the port of the task's
    /// client, now, if that is attached and keeps outcomes (an in-process client is told nothing);
    /// `None` if not, or if that process does not have this attempt.
    ///
    /// Where the port has no room for it, say so with
    /// [`handle_output_dropped`](Self::handle_output_dropped).
    #[must_use]
    pub fn handle_output(
        &mut self,
        _now: Instant,
        instance: u64,
        at: AttemptAt,
        printed: Printed,
    ) -> Option<(PortId, OutputReply)> {
        let found = self.find_out(at.handle, at.attempt, at.worker, at.epoch);
        let Some(index) = found.filter(|_| self.was_granted(at.worker, at.epoch, instance)) else {
            self.stats.stale_output += 1;
            return None;
        };
        let record = &self.tasks.records[index as usize];
        let owner = record.client;
        if owner == NIL {
            return None;
        }
        let client = &mut self.clients[owner as usize];
        if !client.keeps || !client.may_receive() {
            return None;
        }
        let missed = core::mem::take(&mut client.output_missed);
        self.stats.output += 1;
        let reply = OutputReply {
            client: client.id(owner),
            task: record.task,
            attempt: at.attempt,
            worker: at.worker,
            epoch: at.epoch,
            printed: Printed {
                missed: missed.saturating_add(printed.missed),
                ..printed
            },
        };
        Some((client.port, reply))
    }

    /// There was no room for it: its client hears with the next one that something is missing, or
    /// before its next outcome.
    pub fn handle_output_dropped(&mut self, _now: Instant, reply: &OutputReply) {
        self.stats.output_dropped += 1;
        if let Some(index) = self.find_client(reply.client) {
            self.note_missed(index, reply.printed.missed.saturating_add(1));
        }
    }

    /// Output of an attempt was dropped before it came here: its client hears of it likewise.
    pub fn handle_output_missed(&mut self, _now: Instant, at: AttemptAt, missed: u16) {
        if let Some(index) = self.find_out(at.handle, at.attempt, at.worker, at.epoch) {
            let owner = self.tasks.records[index as usize].client;
            if owner != NIL {
                self.note_missed(owner, missed);
            }
        }
    }

    fn note_missed(&mut self, owner: u32, missed: u16) {
        let client = &mut self.clients[owner as usize];
        if client.keeps {
            client.output_missed = client.output_missed.saturating_add(missed);
        }
    }
}
