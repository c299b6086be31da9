//! Client processes: they submit, change their minds, lose their line, and come back for what is
//! theirs.

use std::collections::BTreeMap;

use taskyard_core::{
    ClientHello, ClientId, Instant, LabelKey, NameKey, Outcome, OutcomeReply, Priority, Submit,
    Target, TaskId, Token, WorkerId,
};

use super::World;
use super::line::{ClientLine, FromClient, ToClient};
use crate::sim::driver::KEEP_MS;
use crate::sim::fact::Fact;
use crate::sim::options::{Fault, Size};

/// A label that no worker has: who asks for it has a deadline.
const NOBODYS_LABEL: LabelKey = LabelKey(99);

/// A task that it has no outcome of.
#[derive(Clone, Copy, Debug)]
struct Want {
    submit: Submit,
    /// The last record that it was sent to.
    sent_to: Option<ClientId>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Customer {
    key: u64,
    session: u32,
    keeps: bool,
    pub(super) line: Option<usize>,
    welcome: Option<ClientId>,
    open: BTreeMap<u64, Want>,
    received: u32,
    acked: u32,
    next_task: u64,
    away_until: Instant,
}

impl Customer {
    pub(super) const fn new(key: u64, keeps: bool) -> Self {
        Self {
            key,
            session: 0,
            keeps,
            line: None,
            welcome: None,
            open: BTreeMap::new(),
            received: 0,
            acked: 0,
            next_task: 1,
            away_until: Instant(0),
        }
    }
}

impl World {
    /// Something that a client process does next.
    pub(super) fn customer_turn(&mut self, at: usize) -> bool {
        let customer = &self.customers[at];
        let Some(line) = customer.line else {
            if customer.away_until > self.watch.now {
                return false;
            }
            self.say_hello(at);
            return true;
        };
        let is_welcome = customer.welcome.is_some();
        let choice = self.rng.below(1000);
        if !is_welcome || choice < 300 {
            return self.listen(at, line);
        }
        if choice < 400 {
            return self.acknowledge_outcomes(at, line);
        }
        if choice < 400 + self.options.size(Size::Cancels) {
            return self.cancel(at, line);
        }
        !self.is_healing && self.submit(at, line)
    }

    /// Listens to all that has arrived, and acknowledges it.
    pub(super) fn customer_settle(&mut self, at: usize) -> bool {
        let Some(line) = self.customers[at].line else {
            return self.customer_turn(at);
        };
        let mut any = false;
        while self.customers[at].line == Some(line) && self.listen(at, line) {
            any = true;
        }
        any | self.acknowledge_outcomes(at, line)
    }

    fn say_hello(&mut self, at: usize) {
        let port = self.rng.place(self.ports.len());
        let index = self.client_lines.len();
        let customer = &mut self.customers[at];
        customer.session += 1;
        customer.line = Some(index);
        let mut line = ClientLine::new(customer.key);
        line.up.push_back(FromClient::Hello(ClientHello {
            key: u128::from(customer.key),
            session: customer.session,
            keep_outcomes: customer.keeps,
            token: Token(index as u64),
        }));
        self.client_lines.push(line);
        self.ports[port].guests.push(index);
    }

    fn listen(&mut self, at: usize, line: usize) -> bool {
        if self.client_lines[line].clogged_until > self.watch.now {
            return false;
        }
        let Some(heard) = self.client_lines[line].down.pop_front() else {
            return false;
        };
        match heard {
            ToClient::Welcome(client) => self.welcomed(at, line, client),
            ToClient::Refused => {
                let pause = self.rng.between(1, 20);
                self.hang_up_client(at, pause);
            }
            ToClient::Outcome(reply) => self.received(at, &reply),
        }
        true
    }

    /// Submits again all that it has no outcome of, first of all.
    fn welcomed(&mut self, at: usize, line: usize, client: ClientId) {
        let customer = &mut self.customers[at];
        customer.welcome = Some(client);
        customer.received = 0;
        customer.acked = 0;
        for want in customer.open.values_mut() {
            want.submit.resent |= want.sent_to.is_some_and(|other| other != client);
            want.sent_to = Some(client);
            self.client_lines[line]
                .up
                .push_back(FromClient::Submit(want.submit));
        }
    }

    fn received(&mut self, at: usize, reply: &OutcomeReply) {
        let customer = &mut self.customers[at];
        let is_refusal = matches!(reply.outcome, Outcome::Refused(_));
        if !is_refusal {
            customer.received += 1;
            assert_eq!(
                reply.seq, customer.received,
                "I1: {reply:?} reaches its client"
            );
        }
        if !reply.part && customer.open.remove(&reply.task.0).is_some() {
            self.watch.see(&Fact::Received(customer.key, reply.task));
        }
    }

    fn acknowledge_outcomes(&mut self, at: usize, line: usize) -> bool {
        let customer = &mut self.customers[at];
        let is_here = customer.keeps && customer.welcome.is_some();
        let has_new = is_here && customer.received > customer.acked;
        if has_new {
            customer.acked = customer.received;
            self.client_lines[line]
                .up
                .push_back(FromClient::Ack(customer.acked));
        }
        has_new
    }

    fn cancel(&mut self, at: usize, line: usize) -> bool {
        let open = &self.customers[at].open;
        let place = self.rng.place(open.len());
        let Some(task) = open.keys().nth(place) else {
            return false;
        };
        self.client_lines[line]
            .up
            .push_back(FromClient::Cancel(TaskId(*task)));
        true
    }

    fn submit(&mut self, at: usize, line: usize) -> bool {
        // Mostly as much as there is room for: refusals are quick, and would drown the rest.
        let share = self.options.size(Size::Tasks) / self.options.size(Size::Clients) + 1;
        let most = share.min(self.options.size(Size::Quota)) as usize;
        if self.customers[at].open.len() >= most && !self.rng.chance(50) {
            return false;
        }
        let target = self.draw_target();
        let customer = &mut self.customers[at];
        let task = customer.next_task;
        customer.next_task += 1;
        let mut submit = Submit::new(TaskId(task), target);
        if self.rng.chance(400) {
            submit = submit.attempts(self.rng.between(0, 4) as u8);
        }
        if self.rng.chance(self.options.size(Size::Deadlines)) {
            submit = submit.start_within_ms(self.rng.below(20) as u32);
            submit = submit.finish_within_ms(self.rng.below(40) as u32);
        }
        if self.rng.chance(self.options.size(Size::Retries)) {
            submit = submit.retries(self.rng.between(1, 3) as u8);
        }
        if self.rng.chance(self.options.size(Size::Holds)) {
            submit = submit.hold_ms(self.rng.between(1, 60) as u32);
        }
        if submit.target == Target::Label(NOBODYS_LABEL) {
            submit = submit.start_within_ms(self.rng.between(1, 10) as u32);
        }
        if self.options.size(Size::Bytes) > 0 {
            submit = submit.payload_bytes(self.rng.below(100) as u32);
        }
        let level = self.rng.below(self.options.size(Size::Levels)) as u8;
        submit = submit.priority(Priority::new(level));
        let sent_to = customer.welcome;
        customer.open.insert(task, Want { submit, sent_to });
        self.client_lines[line]
            .up
            .push_back(FromClient::Submit(submit));
        true
    }

    fn draw_target(&mut self) -> Target {
        if self.rng.chance(self.options.size(Size::Multicasts)) {
            return Target::All;
        }
        if !self.rng.chance(self.options.size(Size::Directed)) {
            let is_labelled = self.rng.chance(self.options.size(Size::Labelled));
            let label = LabelKey(self.rng.between(1, self.options.size(Size::Labels)));
            let label = if self.rng.chance(30) {
                NOBODYS_LABEL
            } else {
                label
            };
            return if is_labelled {
                Target::Label(label)
            } else {
                Target::Any
            };
        }
        if self.rng.chance(500) {
            let names = self.options.size(Size::Names);
            return Target::Named(NameKey(u128::from(self.rng.below(names + 1))));
        }
        Target::Worker(WorkerId(
            self.rng.below(self.options.size(Size::Workers) + 2) as u32,
        ))
    }

    // ---- what befalls them ----

    pub(super) fn hurt_client(&mut self, fault: Fault) {
        let at = self.rng.place(self.customers.len());
        let pause = self.rng.between(0, 30);
        let customer = &self.customers[at];
        match fault {
            Fault::Goodbye => {
                if let (Some(line), Some(_)) = (customer.line, customer.welcome) {
                    self.client_lines[line].up.push_back(FromClient::Goodbye);
                    self.customers[at].line = None;
                    self.replace_client(at);
                }
            }
            Fault::LongAbsence if customer.keeps => self.hang_up_client(at, KEEP_MS + pause),
            Fault::ClientCut if customer.keeps => self.hang_up_client(at, pause),
            // One that keeps nothing is in the controller's own process: it does not lose its line.
            _ => {
                self.hang_up_client(at, pause);
                self.replace_client(at);
            }
        }
    }

    fn hang_up_client(&mut self, at: usize, pause_ms: u64) {
        let customer = &mut self.customers[at];
        customer.welcome = None;
        customer.away_until = self.watch.now.after_ms(pause_ms);
        if let Some(index) = customer.line.take() {
            let shows_at = self.loss_shows_at();
            self.client_lines[index].cut(&mut self.rng, FromClient::Gone, shows_at);
        }
    }

    /// When a port notices that a line is gone.
    pub(super) fn loss_shows_at(&mut self) -> Instant {
        let is_late = self.fires(Fault::HalfOpen);
        let ms = if is_late { self.rng.between(1, 100) } else { 0 };
        self.watch.now.after_ms(ms)
    }

    /// Another process comes in its place.
    fn replace_client(&mut self, at: usize) {
        self.next_key += 1;
        let keeps = self.rng.chance(700);
        let away_until = self.customers[at].away_until;
        self.customers[at] = Customer {
            away_until,
            ..Customer::new(self.next_key, keeps)
        };
    }

    /// A record that some client has or had.
    pub(super) fn some_record(&mut self) -> Option<(ClientId, TaskId)> {
        let at = self.rng.place(self.customers.len());
        let task = TaskId(self.rng.below(self.customers[at].next_task));
        Some((self.customers[at].welcome?, task))
    }

    /// Whether it is here and waits for nothing.
    pub(super) fn is_client_quiet(&self, at: usize) -> bool {
        let customer = &self.customers[at];
        customer.welcome.is_some() && customer.open.is_empty()
    }

    /// What somebody waits for still.
    pub(super) fn waiting(&self) -> String {
        let each = self.customers.iter().map(|customer| {
            let line = customer.line.map(|line| &self.client_lines[line]);
            format!(
                "client {} on {line:?} waits for {:?}",
                customer.key, customer.open
            )
        });
        each.collect::<Vec<_>>().join("\n")
    }
}
