//! Who comes and goes: clients, workers with their mailboxes, and whole ports with all their peers.

use taskyard_core::{
    ClientHello, ClientId, Envelope, Epoch, Instant, Loss, PortId, Registered, Registration,
    RegistrationRefusal, Token, WorkerId,
};

use super::Dispatcher;
use crate::envelope::Reply;
use crate::payload::Payload;
use crate::ring::{Consumer, Producer, ring};
use crate::sleepers::Sleepers;

/// A worker's mailbox: made at the first registration that gets this place, then used again.
pub(super) struct Mailbox {
    pub(super) producer: Producer<Envelope>,
    /// The reading end, while no port has it.
    spare: Option<Consumer<Envelope>>,
    /// Who has the reading end, or had it last: for whom, and where.
    epoch: Epoch,
    pub(super) port: PortId,
    /// Its port was told to hand it back.
    pub(super) retiring: bool,
}

impl<P: Payload> Dispatcher<P> {
    pub(super) fn client_up(&mut self, now: Instant, port: PortId, hello: ClientHello) {
        let token = hello.token;
        let reply = match self.scheduler.handle_client_up(now, port, hello) {
            Ok(welcome) => {
                self.end(port).remember_client(welcome.client);
                Reply::Welcome { token, welcome }
            }
            Err(refusal) => Reply::HelloRefused { token, refusal },
        };
        self.end(port).reply(reply);
    }

    pub(super) fn client_down(&mut self, now: Instant, port: PortId, client: ClientId) {
        if self.has_session(port, client) {
            self.scheduler.handle_client_down(now, client);
        }
    }

    /// A client that has come back through another port has left things behind in this one's ring:
    /// they are of an earlier session, and no longer count (rule R12). It is not down either.
    #[inline]
    pub(super) fn has_session(&self, port: PortId, client: ClientId) -> bool {
        self.scheduler.client_port(client) == Some(port)
    }

    pub(super) fn worker_up(&mut self, now: Instant, port: PortId, registration: Registration) {
        let token = registration.token;
        let registered = if self.may_steal(port) {
            self.scheduler.handle_worker_up(now, port, registration)
        } else {
            Registered::Refused(RegistrationRefusal::WorkersFull)
        };
        if let Registered::Refused(refusal) = registered {
            return self
                .end(port)
                .reply(Reply::NotRegistered { token, refusal });
        }
        let end = self.end(port);
        end.steals = true;
        end.places += 1;
        if let Registered::Admitted { worker, epoch } = registered {
            self.admit(port, token, worker, epoch);
        }
    }

    /// A port with workers sleeps on the pool, where there are places for so many threads. One more
    /// would sleep beside tasks that it could take.
    fn may_steal(&self, port: PortId) -> bool {
        let has_place = self.ports[usize::from(port.0)].steals;
        has_place || self.ports.iter().filter(|end| end.steals).count() < Sleepers::THREADS_MAX
    }

    /// Hands the worker's mailbox to its port.
    pub(super) fn admit(&mut self, port: PortId, token: Token, worker: WorkerId, epoch: Epoch) {
        let capacity = self.limits().mailbox() as usize;
        let place = &mut self.mailboxes[worker.0 as usize];
        let kept = place
            .take()
            .and_then(|kept| Some((kept.producer, kept.spare?)));
        let (producer, consumer) = kept.unwrap_or_else(|| ring(capacity));
        *place = Some(Mailbox {
            producer,
            spare: None,
            epoch,
            port,
            retiring: false,
        });
        let slots = self.scheduler.worker_slots(worker);
        let mailbox = Some(consumer);
        self.end(port).reply(Reply::Registered {
            token,
            worker,
            epoch,
            slots,
            mailbox,
        });
    }

    /// A port hands the mailbox of a retired worker back. (One that was not asked for is not taken:
    /// it might be the reading end of another ring.)
    pub(super) fn drained(
        &mut self,
        now: Instant,
        port: PortId,
        (worker, epoch): (WorkerId, Epoch),
        mailbox: Consumer<Envelope>,
    ) {
        let Some(Some(place)) = self.mailboxes.get_mut(worker.0 as usize) else {
            return;
        };
        let asked_for = place.retiring && place.epoch == epoch && place.port == port;
        if asked_for {
            place.retiring = false;
            place.spare = Some(mailbox);
            self.end(port).places -= 1;
            self.scheduler.handle_drained(now, worker, epoch);
        }
    }

    /// A port was dropped: all its peers are gone, and the mailboxes it held with them.
    pub(super) fn port_gone(&mut self, now: Instant, port: PortId) {
        for client in self.end(port).close() {
            self.client_down(now, port, client);
        }
        for (worker, place) in (0..).map(WorkerId).zip(0..self.mailboxes.len()) {
            let Some(mailbox) = &self.mailboxes[place] else {
                continue;
            };
            if mailbox.port != port || mailbox.spare.is_some() {
                continue;
            }
            let (epoch, is_up) = (mailbox.epoch, self.scheduler.worker_slots(worker).slots > 0);
            if mailbox.retiring {
                // It was asked for the mailbox, and cannot answer any more.
                self.mailbox_gone(now, port, worker, epoch);
            } else if is_up {
                self.scheduler
                    .handle_worker_down(now, worker, epoch, Loss::Closed);
            }
        }
    }

    /// The reading end went with its port: the next tenant of the place gets a new ring.
    fn mailbox_gone(&mut self, now: Instant, port: PortId, worker: WorkerId, epoch: Epoch) {
        self.mailboxes[worker.0 as usize] = None;
        self.end(port).places -= 1;
        self.scheduler.handle_drained(now, worker, epoch);
    }

    /// Nobody reads the replies of a port that is gone: what they ask for is done here.
    pub(super) fn settle_gone(&mut self, now: Instant, port: PortId) -> usize {
        use taskyard_core::Reply as Due;
        let mut count = 0;
        while let Some(reply) = self.scheduler.poll_reply(now, port) {
            count += 1;
            match reply {
                Due::Retire { worker, epoch, .. } => self.mailbox_gone(now, port, worker, epoch),
                Due::Admitted { worker, epoch, .. } | Due::Evict { worker, epoch } => {
                    self.scheduler
                        .handle_worker_down(now, worker, epoch, Loss::Closed);
                }
                Due::NotAdmitted { .. } => self.end(port).places -= 1,
                Due::Outcome(reply) => drop(self.outcome_payload(&reply)),
                Due::Abort { .. }
                | Due::Recall { .. }
                | Due::Pause { .. }
                | Due::Notice(_)
                | Due::OutputMissed { .. }
                | Due::Swept { .. } => {}
            }
        }
        count
    }
}
