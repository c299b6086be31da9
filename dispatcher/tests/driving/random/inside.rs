//! What ports get from the dispatcher, and what must be true of it.

use taskyard_core::{
    AttemptAt, Epoch, Outcome, OutcomeReply, OutputReply, Printed, Stream, Submit, Target, TaskId,
    Token, Verdict, WorkerId,
};
use taskyard_dispatcher::{Event, OutputFate, Reply};

use super::{Employee, TASK_BITS, World, is_of};
use crate::support::{Counted, report};

impl World {
    pub(super) fn read_replies(&mut self, at: usize, most: usize) -> usize {
        for count in 0..most {
            let Some(reply) = self.peers[at].port.poll_reply() else {
                return count;
            };
            self.handle_reply(at, reply);
        }
        most
    }

    pub(super) fn handle_reply(&mut self, at: usize, reply: Reply<Counted>) {
        match reply {
            Reply::Welcome { token, welcome } => {
                let Some(key) = self.session_of(at, token) else {
                    return;
                };
                let customer = self.customers.get_mut(&key).expect("it was found");
                customer.id = Some(welcome.client);
                customer.acknowledged = 0;
                if customer.record.replace(welcome.client) != Some(welcome.client) {
                    // It was forgotten, and what it had with it.
                    customer.open.clear();
                    customer.seen.clear();
                }
                customer.again = customer.open.keys().copied().collect();
            }
            Reply::HelloRefused { token, .. } => {
                if let Some(key) = self.session_of(at, token) {
                    self.peers[at].customers.remove(&key);
                    self.customers.remove(&key);
                }
            }
            Reply::Outcome { reply, payload } => self.handle_outcome(at, &reply, payload.is_some()),
            Reply::Registered {
                token: Token(name),
                worker,
                epoch,
                slots,
                ..
            } => {
                let employee = Employee {
                    name: u128::from(name >> TASK_BITS),
                    slots: slots.slots,
                };
                self.peers[at].workers.insert((worker.0, epoch.0), employee);
            }
            Reply::Notice(_) | Reply::OutputMissed { .. } => {}
            Reply::Output { reply, payload } => self.handle_output(at, &reply, &payload),
            Reply::Liveness { .. } => unreachable!("nobody asks"),
            Reply::Recall { .. } => unreachable!("no worker here takes tasks ahead"),
            Reply::Evict { worker, epoch, .. } => self.worker_is_gone_quietly(at, worker, epoch),
            Reply::Abort {
                handle, attempt, ..
            } => {
                let running = &mut self.peers[at].running;
                let found = running
                    .iter()
                    .position(|d| (d.handle, d.attempt) == (handle, attempt));
                if let Some(found) = found
                    && self.random.one_in(2)
                    && self.peers[at].port.has_room(1)
                {
                    let delivery = self.peers[at].running.swap_remove(found);
                    let report = report(&delivery, Verdict::Aborted);
                    assert!(self.peers[at].port.reported(report, None));
                }
            }
            Reply::NotRegistered { .. } | Reply::Retire { .. } => {}
            Reply::Pause { .. }
            | Reply::Swept { .. }
            | Reply::SweepRefused { .. }
            | Reply::Controlled { .. } => {
                unreachable!("nobody asked for it")
            }
        }
    }

    /// The client whose present session, in this port, was said hello to with this token.
    pub(super) fn session_of(&self, at: usize, token: Token) -> Option<u128> {
        let (key, session) = (u128::from(token.0 >> 32), token.0 as u32);
        let customer = self.customers.get(&key)?;
        let here = self.peers[at].customers.contains(&key);
        (here && customer.session == session).then_some(key)
    }

    /// Submits again what a client does not know the controller to have.
    pub(super) fn submit_again(&mut self, at: usize) -> bool {
        let peer = &mut self.peers[at];
        for key in &peer.customers {
            let Some(customer) = self.customers.get_mut(key) else {
                continue;
            };
            let (Some(client), Some(task)) = (customer.id, customer.again.last().copied()) else {
                continue;
            };
            if !peer.port.has_room(1) {
                return false;
            }
            customer.again.pop();
            if let Some(attempts) = customer.open.get(&task) {
                let payload = self.yard.mint.make(((*key as u64) << TASK_BITS) | task);
                let submit = Submit::new(TaskId(task), Target::Any).attempts(*attempts);
                peer.port.send(Event::Submit {
                    client,
                    submit,
                    payload,
                });
            }
            return true;
        }
        false
    }

    pub(super) fn worker_is_gone_quietly(&mut self, at: usize, worker: WorkerId, epoch: Epoch) {
        let last = self.peers.len() - 1;
        self.worker_is_gone(at, (worker.0, epoch.0));
        self.peers.swap(at, last);
    }

    pub(super) fn handle_outcome(&mut self, at: usize, reply: &OutcomeReply, has_payload: bool) {
        let live = self.peers[at].customers.iter().find(|key| {
            self.customers
                .get(*key)
                .is_some_and(|customer| customer.id == Some(reply.client))
        });
        let Some(key) = live.copied() else { return };
        let task = reply.task.0;
        let number = ((key as u64) << TASK_BITS) | task;
        let worker = reply.worker.map(|(worker, _)| worker.0);
        if let Outcome::Cancelled { started: false } = reply.outcome {
            let ran = self.started.range((number, 0)..=(number, u32::MAX));
            let ran = ran.filter(|((_, by), _)| !reply.part || Some(*by) == worker);
            assert_eq!(
                ran.count(),
                0,
                "{number:x} has started, they say it has not"
            );
        }
        assert!(
            !has_payload || reply.has_payload,
            "a payload that is no result"
        );
        let customer = self.customers.get_mut(&key).expect("it was found");
        if reply.seq > 0 && customer.keeps {
            assert_eq!(
                reply.seq,
                customer.acknowledged + 1,
                "in order, none left out"
            );
            customer.acknowledged = reply.seq;
        }
        let part = reply.part.then(|| worker.expect("a part has a worker"));
        let before = customer.seen.insert((task, part), reply.outcome);
        match before {
            // Sent again after the client has come back: the same.
            Some(before) if customer.keeps => assert_eq!(before, reply.outcome, "{number:x}"),
            Some(_) => panic!("two outcomes for {number:x}"),
            None if reply.part => assert!(customer.open.contains_key(&task), "{number:x}"),
            None => assert!(customer.open.remove(&task).is_some(), "unasked: {number:x}"),
        }
    }

    /// Only of a task that has started, and has no outcome yet.
    fn handle_output(&self, at: usize, reply: &OutputReply, payload: &Counted) {
        let live = self.peers[at].customers.iter().find(|key| {
            let customer = self.customers.get(*key);
            customer.is_some_and(|customer| customer.id == Some(reply.client))
        });
        let Some(key) = live else { return };
        let customer = &self.customers[key];
        let number = ((*key as u64) << TASK_BITS) | reply.task.0;
        assert!(customer.keeps, "{number:x}: a local client is told nothing");
        assert_eq!(payload.number, number, "somebody else's output");
        assert!(
            self.started.contains_key(&(number, reply.worker.0)),
            "{number:x} prints and has not started"
        );
        let part = customer
            .seen
            .contains_key(&(reply.task.0, Some(reply.worker.0)));
        let known = customer.open.contains_key(&reply.task.0);
        assert!(known && !part, "{number:x} prints after its outcome");
    }

    /// A task prints, or says so.
    pub(super) fn print(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let Some(delivery) = peer.running.first() else {
            return;
        };
        let mut attempt = AttemptAt {
            worker: delivery.worker,
            epoch: delivery.epoch,
            handle: delivery.handle,
            attempt: delivery.attempt,
        };
        let text = self.yard.mint.make(delivery.payload.number);
        let printed = Printed {
            stream: Stream::Stdout,
            dropped_bytes: 0,
            missed: 0,
        };
        let lies = self.random.one_in(8);
        if lies {
            attempt.epoch.0 += 1;
        }
        let fate = peer.port.output(1, attempt, printed, text);
        let again = peer.port.has_room(1) || fate != OutputFate::Sent;
        assert!(again, "output has taken the last place");
        assert!(lies || fate != OutputFate::Stale, "it is out");
    }

    pub(super) fn start(&mut self, at: usize) {
        let Some(delivery) = self.peers[at].port.poll_delivery() else {
            return;
        };
        let peer = &mut self.peers[at];
        let worker = (delivery.worker.0, delivery.epoch.0);
        let employee = peer
            .workers
            .get(&worker)
            .expect("a delivery to a worker that is up");
        let busy = peer
            .running
            .iter()
            .filter(|other| is_of(other, worker))
            .count();
        assert!(busy < usize::from(employee.slots), "more tasks than slots");
        if self.random.one_in(8) && peer.port.has_room(1) {
            return peer.port.returned(&delivery);
        }
        *self
            .started
            .entry((delivery.payload.number, worker.0))
            .or_default() += 1;
        peer.running.push(delivery);
    }

    pub(super) fn finish(&mut self, at: usize) -> usize {
        let peer = &mut self.peers[at];
        if peer.running.is_empty() || !peer.port.has_room(1) {
            return 0;
        }
        let delivery = peer
            .running
            .swap_remove(self.random.below(peer.running.len()));
        let verdict = if self.random.one_in(8) {
            Verdict::Failed
        } else {
            Verdict::Completed
        };
        let report = report(&delivery, verdict);
        let result = self.random.one_in(2).then(|| self.yard.mint.make(0));
        assert!(peer.port.reported(report, result));
        assert!(!peer.port.reported(report, None), "twice");
        1
    }
}
