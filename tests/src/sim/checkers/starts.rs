//! I2, I3 and I18: how often a task starts, when two executions of it may overlap, and who is named
//! when all of them are lost.

use std::collections::HashMap;

use taskyard_core::{Outcome, OutcomeReply, Reported, Submitted, Target, TaskHandle, Tried};

use super::BySlot;
use crate::sim::fact::{Fact, Job, job_of};

#[derive(Debug)]
struct Entry {
    key: u64,
    task: u64,
    most: u32,
    /// It may start once, whatever record of its client it is submitted to.
    once: bool,
    /// Attempts that began, and whether each has settled.
    jobs: Vec<(Job, bool)>,
}

#[derive(Debug)]
pub(crate) struct Starts {
    tasks: BySlot<Entry>,
    /// Starts of those that may start once, by client process and number.
    once: HashMap<(u64, u64), u32>,
    /// By epoch: whether it was told to be gone.
    lost: Vec<bool>,
    /// The payloads of accepted tasks.
    pub(crate) lost_running: u64,
}

impl Starts {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            tasks: BySlot::new(slots),
            once: HashMap::new(),
            lost: Vec::new(),
            lost_running: 0,
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Submitted {
                key,
                submit,
                answer: Submitted::Accepted(handle),
                ..
            } => {
                let attempts = u32::from(submit.attempts_max.max(1));
                // A directed task is lost with its worker, unless it waits for its return.
                let again =
                    matches!(submit.target, Target::Any | Target::Label(_)) || submit.hold_ms > 0;
                let losses = if again { attempts } else { 1 };
                let most = losses + u32::from(submit.retries_on_failure);
                let once = most == 1 && submit.target != Target::All && submit.attempts_max <= 1;
                self.enter(
                    handle,
                    Entry {
                        key,
                        task: submit.task.0,
                        most,
                        once,
                        jobs: Vec::new(),
                    },
                );
            }
            Fact::Shared { from, to } => {
                let whole = self
                    .tasks
                    .get(from)
                    .map_or((0, 0), |entry| (entry.key, entry.task));
                let (key, task) = whole;
                self.enter(
                    to,
                    Entry {
                        key,
                        task,
                        most: 1,
                        once: false,
                        jobs: Vec::new(),
                    },
                );
            }
            Fact::Popped {
                envelope,
                claimed: true,
                load,
                ..
            } => {
                let entry = self.tasks.get(envelope.handle);
                let entry = entry.unwrap_or_else(|| panic!("I2: {envelope:?} of no task"));
                let number = entry.key << 32 | entry.task;
                assert_eq!(
                    load, number,
                    "I2: {envelope:?} came with another task's payload"
                );
            }
            Fact::Started(job) => self.started(job),
            Fact::Reported(report, reported) | Fact::HandedIn(report, reported) => {
                self.reported(job_of(&report), reported);
            }
            Fact::Outcome(reply, _) if reply.outcome == Outcome::WorkerLost => self.named(&reply),
            Fact::WorkerDown(post) => {
                let epoch = post.epoch.0 as usize;
                if self.lost.len() <= epoch {
                    self.lost.resize(epoch + 1, false);
                }
                self.lost[epoch] = true;
            }
            _ => {}
        }
    }

    fn enter(&mut self, handle: TaskHandle, mut entry: Entry) {
        // The list of the tenant before is used again: a checker should not allocate all the time.
        if let Some(place) = self.tasks.places[handle.index() as usize].take() {
            entry.jobs = place.1.jobs;
            entry.jobs.clear();
        }
        self.tasks.insert(handle, entry);
    }

    fn started(&mut self, job: Job) {
        let entry = self.tasks.get(job.handle);
        let entry = entry.unwrap_or_else(|| panic!("I2: {job:?} starts, and is no task"));
        let starts = entry.jobs.len() as u32 + 1;
        assert!(
            starts <= entry.most,
            "I2: {job:?} is start {starts} of {}",
            entry.most
        );
        for (other, is_settled) in &entry.jobs {
            assert!(other.attempt < job.attempt, "I2: {job:?} after {other:?}");
            let is_lost = self
                .lost
                .get(other.post.epoch.0 as usize)
                .copied()
                .unwrap_or(false);
            assert!(*is_settled || is_lost, "I3: {job:?} while {other:?} runs");
            self.lost_running += u64::from(!*is_settled);
        }
        entry.jobs.push((job, false));
        if entry.once {
            let starts = self.once.entry((entry.key, entry.task)).or_default();
            *starts += 1;
            assert_eq!(
                *starts, 1,
                "I2: {job:?} may start once, over all records of its client"
            );
        }
    }

    fn reported(&mut self, job: Job, reported: Reported) {
        let Some(entry) = self.tasks.get(job.handle) else {
            assert_ne!(
                reported,
                Reported::Counted,
                "I3: the result of no task: {job:?}"
            );
            return;
        };
        if matches!(reported, Reported::Counted | Reported::Retried) {
            let last = entry.jobs.last().map(|(job, _)| *job);
            assert_eq!(
                last,
                Some(job),
                "I3: counted, but it is not the latest attempt"
            );
        }
        for (other, is_settled) in &mut entry.jobs {
            *is_settled |= *other == job;
        }
    }

    /// A task that was lost for good names the workers that it was lost with, the last few of them.
    fn named(&mut self, reply: &OutcomeReply) {
        let Some(entry) = self
            .tasks
            .get(reply.handle)
            .filter(|entry| entry.jobs.len() > 1)
        else {
            return;
        };
        let few = entry.jobs.len().saturating_sub(Tried::MAX);
        let posts = entry.jobs[few..].iter().map(|(job, _)| job.post);
        let workers = posts.map(|post| (post.worker, post.epoch));
        assert!(
            reply.tried.iter().eq(workers),
            "I18: {reply:?} of {:?}",
            entry.jobs
        );
    }

    /// The attempt that began last in this place.
    pub(crate) fn present(&self, index: u32) -> Option<Job> {
        let (_, entry) = self.tasks.at(index)?;
        entry.jobs.last().map(|(job, _)| *job)
    }
}
