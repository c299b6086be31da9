//! What the outside world does to its ports: clients and workers that come, ask, leave and return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taskyard_core::{Epoch, NameKey, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_dispatcher::{Delivery, Event};

use super::{Customer, Employee, Peer, TASK_BITS, World, is_of};
use crate::support::{Call, Counted, hello, registration, report};

impl World {
    pub(super) fn attach(&mut self) {
        let call = Arc::<Call>::default();
        if let Ok(port) = self.yard.dispatcher.attach(call.clone()) {
            self.peers.push(Peer {
                port,
                call,
                asleep: false,
                customers: BTreeSet::new(),
                workers: BTreeMap::new(),
                running: Vec::new(),
            });
        }
    }

    pub(super) fn drop_peer(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let at = self.random.below(self.peers.len());
        let peer = self.peers.swap_remove(at);
        for key in &peer.customers {
            self.disconnected(*key);
        }
        self.keep_results(&peer, |_| true);
    }

    pub(super) fn wake_peer(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if std::mem::take(&mut peer.asleep) {
            peer.port.woke();
        }
    }

    pub(super) fn some_customer(&mut self, at: usize) -> Option<u128> {
        let keys: Vec<u128> = self.peers[at].customers.iter().copied().collect();
        let key = *keys.get(self.random.below(keys.len()))?;
        self.customers[&key].id.map(|_| key)
    }

    pub(super) fn say_hello(&mut self, at: usize) {
        if !self.peers[at].port.has_room(1) {
            return;
        }
        // A new one, or one that keeps its outcomes and comes back, perhaps while still connected.
        let returning: Vec<u128> = self
            .customers
            .iter()
            .filter(|(_, c)| c.keeps)
            .map(|(key, _)| *key)
            .collect();
        let key = if self.random.one_in(2) && !returning.is_empty() {
            returning[self.random.below(returning.len())]
        } else {
            self.next_customer += 1;
            self.next_customer
        };
        let keeps = self.random.one_in(2);
        let customer = self.customers.entry(key).or_insert_with(|| Customer {
            keeps,
            next_task: 1,
            ..Customer::default()
        });
        customer.session += 1;
        customer.id = None;
        let event = Event::ClientUp(hello(key, customer.session, customer.keeps));
        for peer in &mut self.peers {
            peer.customers.remove(&key);
        }
        let peer = &mut self.peers[at];
        peer.customers.insert(key);
        peer.port.send(event);
    }

    pub(super) fn leave(&mut self, at: usize) {
        let Some(key) = self.some_customer(at) else {
            return;
        };
        let Some(id) = self.customers[&key].id else {
            return;
        };
        let peer = &mut self.peers[at];
        if !peer.port.has_room(1) {
            return;
        }
        peer.customers.remove(&key);
        if self.random.one_in(3) {
            peer.port.send(Event::Goodbye(id));
            self.customers.remove(&key);
        } else {
            peer.port.send(Event::ClientDown(id));
            self.disconnected(key);
        }
    }

    pub(super) fn disconnected(&mut self, key: u128) {
        match self.customers.get_mut(&key) {
            Some(customer) if customer.keeps => customer.id = None,
            _ => drop(self.customers.remove(&key)),
        }
    }

    pub(super) fn submit(&mut self, at: usize) {
        let Some(key) = self.some_customer(at) else {
            return;
        };
        if !self.peers[at].port.has_room(1) {
            return;
        }
        let target = match self.random.below(8) {
            0 | 1 => Target::Worker(self.some_worker()),
            2 => Target::Named(NameKey(self.random.below(4) as u128)),
            3 => Target::All,
            _ => Target::Any,
        };
        let attempts = 1 + self.random.below(3) as u8;
        let (start_within, finish_within) =
            (self.random.below(8) as u32, self.random.below(12) as u32);
        let customer = self.customers.get_mut(&key).expect("it is listed");
        let task = customer.next_task;
        customer.next_task += 1;
        customer
            .open
            .insert(task, if target == Target::Any { attempts } else { 1 });
        let mut submit = Submit::new(TaskId(task), target).attempts(attempts);
        if self.random.one_in(4) {
            submit = submit
                .start_within_ms(start_within)
                .finish_within_ms(finish_within);
        }
        let number = ((key as u64) << TASK_BITS) | task;
        let client = customer.id.expect("it is up");
        let payload = self.yard.mint.make(number);
        self.peers[at].port.send(Event::Submit {
            client,
            submit,
            payload,
        });
    }

    /// One that somebody believes to be attached, if there is any.
    pub(super) fn some_worker(&mut self) -> WorkerId {
        let all = self.peers.iter().flat_map(|peer| peer.workers.keys());
        let all: Vec<u32> = all.map(|(worker, _)| *worker).collect();
        let at = self.random.below(all.len());
        WorkerId(all.get(at).copied().unwrap_or(3))
    }

    pub(super) fn cancel(&mut self, at: usize) {
        let Some(key) = self.some_customer(at) else {
            return;
        };
        let customer = &self.customers[&key];
        let (Some(client), Some(task)) = (customer.id, customer.open.keys().next()) else {
            return;
        };
        let task = TaskId(*task);
        if self.peers[at].port.has_room(1) {
            self.peers[at].port.send(Event::Cancel { client, task });
        }
    }

    pub(super) fn acknowledge(&mut self, at: usize) {
        let Some(key) = self.some_customer(at) else {
            return;
        };
        let customer = &self.customers[&key];
        let (Some(client), seq) = (customer.id, customer.acknowledged) else {
            return;
        };
        if customer.keeps && self.peers[at].port.has_room(1) {
            self.peers[at].port.send(Event::Ack { client, seq });
        }
    }

    pub(super) fn register(&mut self, at: usize) {
        if !self.peers[at].port.has_room(1) {
            return;
        }
        self.registrations += 1;
        let (name, slots) = (
            self.random.below(4) as u128,
            1 + self.random.below(3) as u16,
        );
        let event = Event::WorkerUp(registration(name, self.registrations, slots));
        self.peers[at].port.send(event);
    }

    pub(super) fn lose_worker(&mut self, at: usize) {
        let workers: Vec<(u32, u32)> = self.peers[at].workers.keys().copied().collect();
        if let Some(worker) = workers.get(self.random.below(workers.len())) {
            self.worker_is_gone(at, *worker);
        }
    }

    /// Its connection is gone. It finishes what it had, and keeps the results.
    pub(super) fn worker_is_gone(&mut self, at: usize, (worker, epoch): (u32, u32)) {
        let mut peer = self.peers.swap_remove(at);
        peer.port
            .worker_down(WorkerId(worker), Epoch(epoch), taskyard_core::Loss::Closed);
        self.keep_results(&peer, |delivery| is_of(delivery, (worker, epoch)));
        peer.running
            .retain(|delivery| !is_of(delivery, (worker, epoch)));
        peer.workers.remove(&(worker, epoch));
        self.peers.push(peer);
    }

    pub(super) fn keep_results(&mut self, peer: &Peer, which: impl Fn(&Delivery<Counted>) -> bool) {
        for delivery in peer.running.iter().filter(|delivery| which(delivery)) {
            let name = peer.workers.get(&(delivery.worker.0, delivery.epoch.0));
            let verdict = if self.random.one_in(4) {
                Verdict::Failed
            } else {
                Verdict::Completed
            };
            if let Some(Employee { name, .. }) = name
                && self.random.one_in(2)
            {
                self.kept.push((*name, report(delivery, verdict)));
            }
        }
    }

    /// A result from before, once or twice; now and then one that is made up.
    pub(super) fn hand_in(&mut self, at: usize) {
        let Some((name, mut report)) = self.kept.pop() else {
            return;
        };
        if !self.peers[at].port.has_room(1) {
            return self.kept.push((name, report));
        }
        if self.random.one_in(4) {
            self.kept.push((name, report));
        }
        if self.random.one_in(16) {
            report.worker.0 ^= 1;
        }
        let payload = self.random.one_in(2).then(|| self.yard.mint.make(0));
        self.peers[at].port.send(Event::HandedIn {
            instance: 1,
            report,
            payload,
        });
    }
}
