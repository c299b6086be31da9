//! Clients: sessions, acknowledgement, and forgetting.

use super::{Scheduler, Step};
use crate::client::{ClientRecord, ClientState};
use crate::effect::Effect;
use crate::event::{ClientHello, HelloRefusal, Welcome};
use crate::id::{ClientId, PortId};
use crate::index::Hash;
use crate::list::NIL;
use crate::task::{Ending, Kind, TaskState, Wish};
use crate::time::Instant;

use super::tasks::task_hash;

impl Scheduler {
    /// A client says hello. If it was here before, it goes on where it was: outcomes that it has
    /// not acknowledged are sent again, numbered from 1, before any new one.
    ///
    /// # Errors
    /// When there is no place for another client, or when this session is not newer than the one
    /// that is known (rule R12). A port that does not exist has no places.
    pub fn handle_client_up(
        &mut self,
        _now: Instant,
        port: PortId,
        hello: ClientHello,
    ) -> Result<Welcome, HelloRefusal> {
        if !self.has_port(port) {
            return Err(HelloRefusal::ClientsFull);
        }
        let known = self.client_index.find(client_hash(hello.key), |index| {
            self.clients[index as usize].key == hello.key
        });
        let index = match known {
            Some(index) => self.resume(index, port, &hello)?,
            None => self.welcome(port, &hello)?,
        };
        Ok(Welcome {
            client: self.clients[index as usize].id(index),
            quota: self.limits.quota(),
            resumed: known.is_some(),
        })
    }

    /// A client's connection is gone. Its tasks go on, and its outcomes wait for some time; those
    /// of a client that keeps none are forgotten at once.
    pub fn handle_client_down(&mut self, now: Instant, client: ClientId) {
        let Some(index) = self.find_client_up(client) else {
            self.stats.stale_client += 1;
            return;
        };
        if !self.clients[index as usize].keeps {
            self.purge(index);
            return;
        }
        self.stop_turn(index);
        let record = &mut self.clients[index as usize];
        record.state = ClientState::Detached;
        record.detached_at = now;
        self.detached.push_back(&mut self.clients, index);
    }

    /// A client leaves for good: whatever it has here is forgotten over the next polls. Its id is
    /// stale from now on.
    pub fn handle_goodbye(&mut self, _now: Instant, client: ClientId) {
        match self.find_client(client) {
            Some(index) => self.purge(index),
            None => self.stats.stale_client += 1,
        }
    }

    /// A client has all its outcomes up to this number; they are released over the next polls.
    pub fn handle_ack(&mut self, _now: Instant, client: ClientId, seq: u32) {
        let Some(index) = self.find_client_up(client) else {
            self.stats.stale_client += 1;
            return;
        };
        let record = &mut self.clients[index as usize];
        // Numbers wrap around: compare how far each lies behind the last one sent.
        let newer = record.sent.wrapping_sub(seq) < record.sent.wrapping_sub(record.acked);
        if newer && !record.resuming {
            record.acked = seq;
            self.add_chore(index);
        }
    }

    /// A client's time has run out without its return.
    pub(super) fn purge_overdue(&mut self, now: Instant) -> Option<()> {
        let index = self.detached.front()?;
        (self.kept_until(index) <= now).then(|| self.purge(index))
    }

    /// When the outcomes of a detached client are forgotten.
    pub(super) fn kept_until(&self, index: u32) -> Instant {
        self.clients[index as usize]
            .detached_at
            .after_ms(self.limits.keep_outcomes_ms())
    }

    /// One step for the first client that has something to be released or forgotten.
    pub(super) fn step_chores(&mut self) -> Step {
        let Some(index) = self.chores.pop_front(&mut self.clients) else {
            return Step::Idle;
        };
        let record = &mut self.clients[index as usize];
        if record.state == ClientState::Purging {
            return self.step_purge(index);
        }
        let first = record.unacked.front();
        let acked = first.filter(|task| {
            let seq = self.tasks.records[*task as usize].detail;
            record.acked.wrapping_sub(seq) as i32 >= 0
        });
        if let Some(task) = acked {
            record.unacked.remove(&mut self.tasks.records, task);
            record.unread = record.unread.saturating_sub(1);
            let bytes = self.tasks.records[task as usize].result_bytes();
            record.unread_bytes = record.unread_bytes.saturating_sub(bytes.into());
            self.add_chore(index);
            // What waited for this acknowledgement may go out.
            self.mark_turn(index);
            return self.release_done(task);
        }
        if record.resuming {
            let record = &mut self.clients[index as usize];
            record.resuming = false;
            (record.unread, record.unread_bytes) = (0, 0);
            record.sent = 0;
            record.acked = 0;
            record
                .due
                .prepend(&mut self.tasks.records, &mut record.unacked);
            self.mark_turn(index);
        }
        Step::Silent
    }

    /// The client of this id, whether it is attached or may come back.
    #[inline]
    pub(super) fn find_client(&self, client: ClientId) -> Option<u32> {
        let index = client.index();
        let record = self.clients.get(index as usize)?;
        let valid = matches!(record.state, ClientState::Up | ClientState::Detached);
        (valid && record.id(index) == client).then_some(index)
    }

    /// The client with this low half of its key.
    pub(super) fn find_process(&self, low: u64) -> Option<u32> {
        self.client_index.find(Hash::of(low, 0), |index| {
            self.clients[index as usize].key as u64 == low
        })
    }

    /// The client of this id, if it is attached.
    #[inline]
    pub(super) fn find_client_up(&self, client: ClientId) -> Option<u32> {
        let index = self.find_client(client)?;
        (self.clients[index as usize].state == ClientState::Up).then_some(index)
    }

    /// Takes a turn at its port for a client with outcomes due.
    #[inline]
    pub(super) fn mark_turn(&mut self, index: u32) {
        let record = &self.clients[index as usize];
        let due = !record.due.is_empty() && record.has_window(&self.limits);
        let waits = due || !record.notices.is_empty();
        if waits && record.may_receive() && !record.turn.is_linked() {
            let port = record.port;
            self.ports[usize::from(port.0)]
                .turns
                .push_back(&mut self.clients, index);
            self.mark_port(port);
        }
    }

    /// Forgets that a client has this record: it is not found by its number any more, and counts no
    /// longer against the quota.
    pub(super) fn forget(&mut self, task: u32) {
        let record = &self.tasks.records[task as usize];
        let owner = record.client;
        self.clients[owner as usize].held -= 1;
        if record.kind != Kind::Part {
            let hash = task_hash(owner, record.task);
            let records = &self.tasks.records;
            self.task_index.remove(hash, task, |other| {
                let record = &records[other as usize];
                task_hash(record.client, record.task)
            });
        }
    }

    fn welcome(&mut self, port: PortId, hello: &ClientHello) -> Result<u32, HelloRefusal> {
        let index = if self.clients.len() < self.limits.clients() as usize {
            self.clients.push(ClientRecord::vacant());
            self.clients.len() as u32 - 1
        } else {
            let free = self.free_clients.pop_front(&mut self.clients);
            free.or_else(|| self.forget_idle())
                .ok_or(HelloRefusal::ClientsFull)?
        };
        self.client_numbers += 1;
        self.clients[index as usize] = ClientRecord {
            key: hello.key,
            number: self.client_numbers,
            session: hello.session,
            port,
            keeps: hello.keep_outcomes,
            state: ClientState::Up,
            ..ClientRecord::vacant()
        };
        self.client_index.insert(client_hash(hello.key), index);
        Ok(index)
    }

    /// Frees the place of the client that is gone the longest and has nothing here: it would find
    /// nothing if it came back. Looks at every client that is gone, but only when a newcomer would
    /// have to be refused otherwise.
    fn forget_idle(&mut self) -> Option<u32> {
        let mut gone = self.detached.iter(&self.clients);
        let index = gone.find(|index| self.clients[*index as usize].held == 0)?;
        drop(gone);
        self.purge(index);
        // Nothing is left to be done in steps.
        self.chores.remove(&mut self.clients, index);
        self.clients[index as usize] = ClientRecord::vacant();
        Some(index)
    }

    fn resume(
        &mut self,
        index: u32,
        port: PortId,
        hello: &ClientHello,
    ) -> Result<u32, HelloRefusal> {
        if hello.session <= self.clients[index as usize].session {
            return Err(HelloRefusal::SessionStale);
        }
        self.stop_turn(index);
        if self.clients[index as usize].state == ClientState::Detached {
            self.detached.remove(&mut self.clients, index);
        }
        let record = &mut self.clients[index as usize];
        record.state = ClientState::Up;
        record.session = hello.session;
        record.port = port;
        record.keeps = hello.keep_outcomes;
        // Outcomes that it has acknowledged may still be there: they must not be sent again.
        record.resuming = true;
        self.add_chore(index);
        Ok(index)
    }

    fn purge(&mut self, index: u32) {
        self.stop_turn(index);
        if self.clients[index as usize].state == ClientState::Detached {
            self.detached.remove(&mut self.clients, index);
        }
        self.clients[index as usize].state = ClientState::Purging;
        let clients = &self.clients;
        let hash_of = |index: u32| client_hash(clients[index as usize].key);
        self.client_index.remove(hash_of(index), index, hash_of);
        self.add_chore(index);
    }

    /// Forgets one record of a client that is gone; with none left, its place is free.
    fn step_purge(&mut self, index: u32) -> Step {
        let record = &mut self.clients[index as usize];
        let sent = record.due.pop_front(&mut self.tasks.records);
        if let Some(task) = sent.or_else(|| record.unacked.pop_front(&mut self.tasks.records)) {
            self.add_chore(index);
            return self.release_done(task);
        }
        let Some(task) = record.open.front() else {
            debug_assert_eq!(record.held, 0);
            *record = ClientRecord::vacant();
            self.free_clients.push_back(&mut self.clients, index);
            return Step::Silent;
        };
        self.add_chore(index);
        let part = self.tasks.records[task as usize].parts.open.front();
        if self.tasks.records[task as usize].state == TaskState::Spread && part.is_none() {
            self.abandon_unmade(task);
        }
        self.orphan(part.unwrap_or(task));
        Step::Silent
    }

    /// Takes an open task from its client: it will have no outcome. What waits is dropped, what is
    /// queued is withdrawn, what runs may finish.
    fn orphan(&mut self, task: u32) {
        self.step_over(task);
        self.forget(task);
        let record = &mut self.tasks.records[task as usize];
        let (owner, whole) = (record.client, record.multicast());
        record.client = NIL;
        record.set_multicast(NIL);
        let state = record.state;
        if whole == NIL {
            self.clients[owner as usize]
                .open
                .remove(&mut self.tasks.records, task);
        } else {
            self.leave_multicast(whole, task, false);
        }
        match state {
            TaskState::Backlogged
            | TaskState::Spread
            | TaskState::Awaiting
            | TaskState::Adopted => {
                self.end(task, Ending::Cancelled { started: false }, false);
            }
            TaskState::Queued => self.revoke(task, Wish::Forget),
            TaskState::Prefetched => self.recall(task, Wish::Forget),
            _ => {}
        }
    }

    /// Frees the record of an outcome that nobody waits for, and that is in no list any more.
    fn release_done(&mut self, task: u32) -> Step {
        self.forget(task);
        let handle = self.free_task(task);
        Step::Effect(Effect::Release { handle })
    }

    fn stop_turn(&mut self, index: u32) {
        self.drop_notices(index);
        let record = &self.clients[index as usize];
        if record.turn.is_linked() {
            let port = usize::from(record.port.0);
            self.ports[port].turns.remove(&mut self.clients, index);
        }
    }

    fn add_chore(&mut self, index: u32) {
        if !self.clients[index as usize].chore.is_linked() {
            self.chores.push_back(&mut self.clients, index);
        }
    }
}

/// Where the index looks for a client: by the half of its key that workers see.
pub(super) const fn client_hash(key: u128) -> Hash {
    Hash::of(key as u64, 0)
}
