//! I8: inputs that are stale or make no sense, said to the scheduler directly. They may change
//! nothing but a counter, so all its tables are compared with what they were before.

use std::fmt::Write as _;

use taskyard_core::{
    Attempt, ClientId, Epoch, PortId, Report, Reported, Revoked, Select, Source, Stamp, Stats,
    Submit, Sweep, Target, TaskHandle, TaskId, Token, Verdict, WorkerId,
};

use super::World;
use crate::sim::fact::Fact;

impl World {
    pub(super) fn say_something_absurd(&mut self) {
        let before = self.tables();
        let stats = *self.driver.scheduler.stats();
        let which = self.rng.below(12);
        self.say(which);
        self.watch.see(&Fact::Absurd(which));
        let after = self.tables();
        assert_eq!(
            before, after,
            "I8: absurd input {which} has changed something"
        );
        let now = *self.driver.scheduler.stats();
        assert_eq!(
            without_stale(stats),
            without_stale(now),
            "I8: absurd input {which}"
        );
    }

    fn say(&mut self, which: u64) {
        let now = self.watch.now;
        let Report {
            worker,
            epoch,
            handle,
            attempt,
            ..
        } = self.draw_report();
        let client = ClientId::from_bits(self.rng.next());
        let verdict = Verdict::Completed;
        let report = Report {
            worker,
            epoch,
            handle,
            attempt,
            verdict,
        };
        let stamp = Stamp(self.rng.below(1 << Stamp::BITS));
        let scheduler = &mut self.driver.scheduler;
        match which {
            0 => assert_eq!(scheduler.handle_reported(now, report), Reported::Dropped),
            1 => assert_eq!(
                scheduler.handle_handed_in(now, self.rng.next(), report, None),
                Reported::Dropped
            ),
            2 => scheduler.handle_returned(now, handle, attempt, worker, epoch),
            3 => scheduler.handle_revoked(now, handle, stamp, Revoked::Won),
            4 => scheduler.handle_worker_down(now, worker, epoch, taskyard_core::Loss::Closed),
            5 => scheduler.handle_drained(now, worker, epoch),
            6 => scheduler.handle_slot_freed(now, worker, epoch),
            7 => scheduler.handle_cancel(now, client, TaskId(self.rng.below(8))),
            8 => scheduler.handle_ack(now, client, self.rng.next() as u32),
            9 => scheduler.handle_paused(now, worker, epoch),
            10 => {
                let sweep = Sweep {
                    select: Select::All,
                    token: Token(0),
                };
                let nowhere = PortId(u16::MAX);
                assert!(!scheduler.handle_sweep(now, nowhere, sweep));
                assert!(!scheduler.handle_hold(now, WorkerId(u32::MAX), true));
                assert!(!scheduler.handle_drain(now, WorkerId(u32::MAX)));
                assert_eq!(scheduler.explain(now, client, TaskId(1)), None);
                scheduler.defer_port(nowhere);
            }
            _ => {
                let submit = Submit::new(TaskId(1), Target::Any);
                let _refused = scheduler.handle_submit(now, client, submit);
                scheduler.handle_discarded(now, Source::Mailbox { worker, epoch });
                self.absurd_credits += 1;
            }
        }
    }

    /// Of an incarnation that nobody has yet, about a task that nobody has yet.
    fn draw_report(&mut self) -> Report {
        Report {
            worker: WorkerId(self.rng.below(200) as u32),
            epoch: Epoch(1_000_000 + self.rng.below(1000) as u32),
            handle: TaskHandle::new(self.rng.below(80) as u32, 1_000_000 + self.rng.below(1000)),
            attempt: Attempt(self.rng.below(256) as u8),
            verdict: Verdict::Completed,
        }
    }

    /// All tables of the scheduler, without its counters.
    fn tables(&self) -> String {
        let mut text = String::new();
        let _ = write!(text, "{:?}", self.driver.scheduler);
        let from = text.find("stats: Stats {").unwrap_or(0);
        let to = text[from..].find('}').map_or(from, |at| from + at);
        text.replace_range(from..to, "");
        text
    }
}

/// The counters without those that an absurd input may raise.
const fn without_stale(mut stats: Stats) -> Stats {
    stats.refused = 0;
    stats.stale_client = 0;
    stats.stale_claim = 0;
    stats.stale_report = 0;
    stats.stale_return = 0;
    stats.stale_revoke = 0;
    stats.stale_worker = 0;
    stats.stale_credit = 0;
    stats
}
