//! Tickets: a controller's mark on a task that it gives to a worker process, which the controller
//! that comes after it can check.
//!
//! A worker may bring a result that it finished before the controller was started anew. Nothing is
//! known of the task then but what the result itself says, so it must not be possible to say
//! anything: a ticket is a keyed digest (SipHash-1-3) of the worker process and the task's origin,
//! under a key that controllers of one place share over their restarts, and nobody else has.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use taskyard_core::{Origin, TaskId};

use crate::wire::OriginTicket;

/// The key of all tickets.
#[derive(Clone, Debug)]
pub(crate) struct Tickets {
    keyed: SipHasher13,
}

impl Tickets {
    pub(crate) fn new(key: u128) -> Self {
        Self {
            keyed: SipHasher13::new_with_keys(key as u64, (key >> 64) as u64),
        }
    }

    /// What goes with a task to the worker process `instance`.
    pub(crate) fn issue(&self, instance: u64, origin: Origin) -> OriginTicket {
        OriginTicket {
            client: origin.client,
            task: origin.task.0,
            ticket: self.digest(instance, origin),
        }
    }

    /// The origin, if this is a ticket of ours for that process.
    pub(crate) fn check(&self, instance: u64, shown: &OriginTicket) -> Option<Origin> {
        let origin = Origin {
            client: shown.client,
            task: TaskId(shown.task),
        };
        (self.digest(instance, origin) == shown.ticket).then_some(origin)
    }

    fn digest(&self, instance: u64, origin: Origin) -> u64 {
        let mut hasher = self.keyed;
        hasher.write_u64(instance);
        hasher.write_u64(origin.client);
        hasher.write_u64(origin.task.0);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_process_one_task_and_one_key() {
        let (tickets, others) = (Tickets::new(1), Tickets::new(2));
        let origin = Origin {
            client: 7,
            task: TaskId(8),
        };
        let ticket = tickets.issue(3, origin);
        assert_eq!(tickets.check(3, &ticket), Some(origin));
        assert_eq!(tickets.check(4, &ticket), None);
        assert_eq!(others.check(3, &ticket), None);
        for wrong in [
            OriginTicket { task: 9, ..ticket },
            OriginTicket {
                client: 9,
                ..ticket
            },
        ] {
            assert_eq!(tickets.check(3, &wrong), None);
        }
    }
}
