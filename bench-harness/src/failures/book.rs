//! What was submitted and what became of it: each task has exactly one outcome, each part too, and
//! nobody is named lost who was not.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use taskyard_core::{Epoch, Outcome, Refusal, TaskId};
use taskyard_zmq::{ClientEvent, ZmqPayload};

use crate::error::Error;

/// Faults that are told one by one; the others are only counted.
const FAULTS_TOLD: usize = 5;

/// Where a task was to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// On whichever worker is least busy.
    Any,
    /// On the worker in this seat, which was this incarnation when it was submitted.
    Seat(u32, Epoch),
    /// On every worker.
    All,
}

#[derive(Debug)]
struct Open {
    aim: Aim,
    submitted: Instant,
    /// Workers whose part has its outcome.
    parts: HashSet<u32>,
}

/// A word about a task that was outstanding on a worker that is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) aim: Aim,
    /// The incarnation that is lost.
    pub(super) epoch: Epoch,
    pub(super) submitted: Instant,
    pub(super) at: Instant,
}

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tasks submitted.
    pub(super) submitted: u64,
    /// Of those, how many have an outcome.
    pub(super) ended: u64,
    /// Tasks and parts that a worker completed.
    pub(super) completed: u64,
    /// Tasks and parts that were lost with a worker.
    pub(super) lost: u64,
    /// Tasks that were started more than once, by their outcomes.
    pub(super) rerun: u64,
    /// Tasks for a worker that was gone when they arrived.
    pub(super) too_late: u64,
}

/// The tasks of one client.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: HashMap<TaskId, Open>,
    counts: Counts,
    losses: Vec<Loss>,
    faults: Vec<String>,
}

impl Book {
    pub(super) fn note(&mut self, task: TaskId, aim: Aim) {
        self.counts.submitted += 1;
        let open = Open {
            aim,
            submitted: Instant::now(),
            parts: HashSet::new(),
        };
        if self.open.insert(task, open).is_some() {
            self.fault(format!("task {} was submitted twice", task.0));
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.open.len()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Words about losses that came since the last call.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Notes what the client was told.
    pub(super) fn handle(&mut self, event: ClientEvent<ZmqPayload>) {
        let at = Instant::now();
        let (task, outcome, worker, attempts, part) = match event {
            ClientEvent::Outcome {
                task,
                outcome,
                worker,
                attempts,
                part,
                ..
            } => (task, outcome, worker, attempts, part),
            ClientEvent::Notice {
                task,
                worker: (_, epoch),
                ..
            } => return self.note_rerun(task, epoch, at),
            ClientEvent::Rejected(why) => return self.fault(format!("a rejection: {why}")),
            _ => return,
        };
        let Some(open) = self.open.get_mut(&task) else {
            return self.fault(format!(
                "task {}: one outcome too many: {outcome:?}",
                task.0
            ));
        };
        let (aim, submitted) = (open.aim, open.submitted);
        let is_new = !part || worker.is_some_and(|(worker, _)| open.parts.insert(worker.0));
        let parts_seen = open.parts.len() as u32;
        if !is_new {
            self.fault(format!("task {}: a part twice, or of nobody", task.0));
        }
        if part != (aim == Aim::All) && !matches!(outcome, Outcome::Summary { .. }) {
            self.fault(format!("task {}: {outcome:?} for {aim:?}", task.0));
        }
        self.counts.rerun += u64::from(attempts > 1);
        match outcome {
            Outcome::Completed => self.counts.completed += 1,
            Outcome::WorkerLost => {
                self.counts.lost += 1;
                match (worker, aim) {
                    (Some((_, epoch)), _) | (None, Aim::Seat(_, epoch)) => self.losses.push(Loss {
                        aim,
                        epoch,
                        submitted,
                        at,
                    }),
                    (None, _) => self.fault(format!("task {}: lost with nobody", task.0)),
                }
            }
            Outcome::Summary { parts, .. } if parts == parts_seen => {}
            Outcome::Refused(Refusal::NoSuchName) => self.counts.too_late += 1,
            other => self.fault(format!("task {}: {other:?}", task.0)),
        }
        if !part {
            self.counts.ended += 1;
            self.open.remove(&task);
        }
    }

    /// An execution was lost, and the task runs again.
    fn note_rerun(&mut self, task: TaskId, epoch: Epoch, at: Instant) {
        let Some(open) = self.open.get(&task) else {
            return self.fault(format!("task {}: runs again after its outcome", task.0));
        };
        let (aim, submitted) = (open.aim, open.submitted);
        self.losses.push(Loss {
            aim,
            epoch,
            submitted,
            at,
        });
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Whether each task has had its one outcome, and nothing else was wrong.
    ///
    /// # Errors
    /// [`Error::Faults`] with the first of them.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        if !self.open.is_empty() {
            let (count, first) = (self.open.len(), self.open.keys().min());
            let first = first.map_or(0, |task| task.0);
            self.fault(format!("{count} tasks have no outcome, as number {first}"));
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        let told = self.faults.iter().take(FAULTS_TOLD);
        let told: Vec<&str> = told.map(String::as_str).collect();
        let (count, told) = (self.faults.len(), told.join("; "));
        Err(Error::Faults(format!("{count} faults: {told}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskyard_core::WorkerId;

    fn outcome(task: u64, outcome: Outcome, worker: u32, part: bool) -> ClientEvent<ZmqPayload> {
        ClientEvent::Outcome {
            tried: Vec::new(),
            task: TaskId(task),
            outcome,
            worker: Some((WorkerId(worker), Epoch(worker + 100))),
            attempts: 1,
            part,
            payload: None,
        }
    }

    fn checked(events: Vec<ClientEvent<ZmqPayload>>) -> Result<Vec<Epoch>, String> {
        let mut book = Book::default();
        book.note(TaskId(1), Aim::Any);
        book.note(TaskId(2), Aim::All);
        for event in events {
            book.handle(event);
        }
        book.check().map_err(|error| error.to_string())?;
        Ok(book.take_losses().iter().map(|loss| loss.epoch).collect())
    }

    const BOTH: Outcome = Outcome::Summary {
        parts: 2,
        completed: 1,
    };

    fn good() -> Vec<ClientEvent<ZmqPayload>> {
        vec![
            outcome(2, Outcome::Completed, 0, true),
            outcome(1, Outcome::Completed, 0, false),
            outcome(2, Outcome::WorkerLost, 1, true),
            outcome(2, BOTH, 0, false),
        ]
    }

    #[test]
    fn one_outcome_for_each_task_and_part_is_right() {
        assert_eq!(checked(good()), Ok(vec![Epoch(101)]));
    }

    #[test]
    fn everything_else_is_found() {
        let with = |at: usize, event| {
            let mut events = good();
            events.insert(at, event);
            checked(events).unwrap_err()
        };
        let twice = with(2, outcome(1, Outcome::Completed, 0, false));
        assert!(twice.contains("one outcome too many"), "{twice}");
        let part_twice = with(3, outcome(2, Outcome::Completed, 1, true));
        assert!(part_twice.contains("a part twice"), "{part_twice}");
        let too_many = with(3, outcome(2, Outcome::Completed, 2, true));
        assert!(too_many.contains("Summary"), "{too_many}");
        let failed = with(0, outcome(2, Outcome::Failed, 2, true));
        assert!(failed.contains("Failed"), "{failed}");
        let mut events = good();
        events.remove(1);
        let missing = checked(events).unwrap_err();
        assert!(missing.contains("1 tasks have no outcome"), "{missing}");
    }
}
