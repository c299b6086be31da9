//! Who looks on: the checkers, the trace, the marks. Each sees facts only, never the tables.

use std::fmt::Write as _;

use taskyard_core::{
    Instant, Labels, NameKey, Outcome, Refusal, Report, Reported, Revoked, Scheduler, Source,
    Submitted, Token,
};

use super::checkers::Checkers;
use super::fact::{Fact, Job, Post};
use super::marks::Marks;
use super::options::Options;
use super::rng::mix;
use crate::counting;

/// Facts that a failure is printed with.
const LAST: usize = 48;

/// The time, and all that is looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) now: Instant,
    pub(crate) checkers: Checkers,
    pub(crate) marks: Marks,
    /// Registrations that are not answered, with their names.
    pub(crate) names: Vec<(Token, NameKey, Labels)>,
    /// Facts, inputs and outputs so far.
    pub(crate) events: u64,
    hash: u64,
    last: Vec<(Instant, Fact)>,
    prints: bool,
    breaks: u64,
    /// Calls to the allocator, as far as they are explained.
    allocations: u64,
    /// Every so many steps the scheduler looks at all its tables.
    sanity_every: u64,
    steps: u64,
}

impl Watch {
    pub(crate) fn new(options: &Options, prints: bool) -> Self {
        Self {
            now: Instant(0),
            checkers: Checkers::new(options),
            marks: Marks::default(),
            names: Vec::new(),
            events: 0,
            hash: 0,
            last: Vec::with_capacity(LAST),
            prints,
            breaks: 0,
            allocations: counting::calls(),
            sanity_every: if cfg!(debug_assertions) { 4 } else { 64 },
            steps: 0,
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        self.events += 1;
        self.hash = mix(self.hash ^ fact.word()).wrapping_add(self.now.0);
        if self.prints {
            println!("{:>9} us  {fact:?}", self.now.0 / 1000);
        }
        let at = self.events as usize % LAST;
        match self.last.get_mut(at) {
            Some(place) => *place = (self.now, *fact),
            None => self.last.push((self.now, *fact)),
        }
        self.mark_fact(fact);
        self.checkers.see(self.now, fact);
    }

    /// After one call into the scheduler.
    pub(crate) fn after_call(&mut self, scheduler: &Scheduler) {
        self.checkers.work.after_call(scheduler.stats());
    }

    /// After one step of the driver, which did so much.
    pub(crate) fn after_step(&mut self, scheduler: &Scheduler, done: usize) {
        let calls = counting::calls();
        assert_eq!(
            calls, self.allocations,
            "I14: the hot path has called the allocator"
        );
        self.steps += u64::from(done > 0);
        if done > 0 && self.steps.is_multiple_of(self.sanity_every) {
            scheduler.sanity_check();
        }
    }

    /// The number of everything that has happened so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether a deliberate bug strikes now: every `nth` time that it may.
    pub(crate) const fn break_now(&mut self, nth: u64) -> bool {
        self.breaks += 1;
        self.breaks.is_multiple_of(nth)
    }

    /// The attempt that is out now in the place that this report names.
    pub(crate) fn present_holder(&self, report: Report) -> Report {
        let Some(Job {
            handle,
            attempt,
            post,
        }) = self.checkers.starts.present(report.handle.index())
        else {
            return report;
        };
        Report {
            worker: post.worker,
            epoch: post.epoch,
            handle,
            attempt,
            ..report
        }
    }

    pub(crate) fn mark(&mut self, mark: &str) {
        self.marks.hit(mark, 1);
    }

    pub(crate) fn mark_if(&mut self, condition: bool, mark: &str) {
        if condition {
            self.marks.hit(mark, 1);
        }
    }

    /// The last that was seen, oldest first.
    pub(crate) fn last_facts(&self) -> String {
        let mut text = String::new();
        let newest = self.events as usize % LAST;
        for step in 1..=self.last.len() {
            if let Some((at, fact)) = self.last.get((newest + step) % LAST) {
                let _ = writeln!(text, "  {:>9} us  {fact:?}", at.0 / 1000);
            }
        }
        text
    }

    fn mark_fact(&mut self, fact: &Fact) {
        match *fact {
            Fact::ClientUp { resumed: true, .. } => self.mark("session_resumed"),
            Fact::Submitted {
                answer: Submitted::NotRerun,
                ..
            } => self.mark("not_rerun"),
            Fact::Submitted {
                answer: Submitted::Refused(refusal),
                ..
            } => match refusal {
                Refusal::QuotaFull => self.mark("quota_full"),
                Refusal::TasksFull => self.mark("tasks_full"),
                Refusal::BytesFull => self.mark("payloads_full"),
                Refusal::LabelsFull => self.mark("labels_full"),
                Refusal::MulticastTooWide => self.mark("too_wide"),
                _ => {}
            },
            Fact::SlotFreed(_) => self.mark("slot_freed"),
            Fact::Notice(_) => self.mark("notified"),
            Fact::Returned(_) => self.mark("returned"),
            Fact::Popped { claimed: false, .. } => self.mark("tombstone_popped"),
            Fact::HandedIn(_, Reported::Counted) => self.mark("handed_in_counted"),
            Fact::HandedIn(_, Reported::Dropped) => self.mark("handed_in_dropped"),
            Fact::Revoked(_, _, Revoked::Won) => self.mark("revoke_won"),
            Fact::Revoked(_, _, Revoked::Lost) => self.mark("revoke_lost"),
            Fact::Reported(_, Reported::Retried) => self.mark("retried"),
            Fact::HandedIn(_, Reported::Retried) => self.mark("retried_late"),
            Fact::Pause(..) => self.mark("paused"),
            Fact::Evict(post) => self.mark_eviction(post),
            Fact::Swept(_, touched) => self.marks.hit("swept", u64::from(touched)),
            Fact::Absurd(_) => self.mark("absurd_input"),
            Fact::Credit(Source::Pool) => {}
            Fact::Outcome(reply, _) => match reply.outcome {
                Outcome::Cancelled { started: true } => self.mark("cancelled_running"),
                Outcome::Cancelled { started: false } if reply.part => {
                    self.mark("multicast_cancelled");
                }
                Outcome::Cancelled { started: false } => self.mark("cancelled_unstarted"),
                Outcome::WorkerLost if reply.part => self.mark("multicast_target_lost"),
                Outcome::WorkerLost if reply.attempts > 1 => self.mark("poison"),
                Outcome::Summary { .. } => self.mark("multicast_summary"),
                _ => {}
            },
            _ => {}
        }
    }

    /// Why a worker has to leave: somebody asked, its next incarnation waits, or it did not obey.
    fn mark_eviction(&mut self, post: Post) {
        let targets = &self.checkers.targets;
        let name = targets.name_of(post);
        let has_successor = self
            .names
            .iter()
            .any(|(_, waiting, _)| Some(*waiting) == name);
        let mark = if targets.is_draining(post) {
            "drained"
        } else if has_successor {
            "evicted_for_successor"
        } else {
            "abort_grace_over"
        };
        self.mark(mark);
    }
}
