//! The check behind every figure: each task sent has exactly one answer, each multicast exactly one
//! from each worker.

use crate::link::Answer;

/// Marks a task that has its answer; no clock reaches it.
const ANSWERED: u64 = u64::MAX;
/// Faults kept by name; the others are only counted.
const FAULTS_NAMED: usize = 8;

/// The tasks of one block, by number: when each was due, and whether it was answered.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    first: u64,
    due_ns: Vec<u64>,
    open: u64,
    faults: Faults,
}

/// What went wrong, the first few by name.
#[derive(Debug, Default)]
struct Faults {
    named: Vec<String>,
    count: u64,
}

impl Faults {
    fn add(&mut self, fault: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < FAULTS_NAMED {
            self.named.push(fault());
        }
    }
}

impl Ledger {
    /// Forgets the last block's tasks; an answer to one of them is a fault from now on. Memory
    /// stays.
    pub(crate) fn begin(&mut self) {
        self.first += self.due_ns.len() as u64;
        self.due_ns.clear();
        self.open = 0;
    }

    /// A task was sent that was due at that time.
    pub(crate) fn sent(&mut self, task: u64, due_ns: u64) {
        if self.due_ns.is_empty() {
            self.first = task;
        }
        assert_eq!(
            task,
            self.first + self.due_ns.len() as u64,
            "a link numbers tasks in a row"
        );
        self.due_ns.push(due_ns);
        self.open += 1;
    }

    /// An answer came: when its task was due, if this is its one good end. A part is none: whoever
    /// waits for parts takes them out before.
    pub(crate) fn answered(&mut self, answer: Answer) -> Option<u64> {
        let task = match answer {
            Answer::Completed { task } | Answer::Summary { task, .. } => task,
            Answer::Part { task, worker } => {
                self.faults
                    .add(|| format!("task {task} got an outcome of worker {worker} too many"));
                return None;
            }
            Answer::Bad { task, what } => {
                self.faults.add(|| format!("task {task} ended as {what}"));
                self.close(task);
                return None;
            }
        };
        self.close(task)
    }

    /// A task's state, seen from outside: when it was due, unless it is unknown or answered.
    pub(crate) fn due_ns(&self, task: u64) -> Option<u64> {
        let place = usize::try_from(task.checked_sub(self.first)?).ok()?;
        self.due_ns
            .get(place)
            .copied()
            .filter(|&due_ns| due_ns != ANSWERED)
    }

    fn close(&mut self, task: u64) -> Option<u64> {
        let Some(due_ns) = self.due_ns(task) else {
            self.faults
                .add(|| format!("task {task} got an outcome twice, or was never sent"));
            return None;
        };
        self.due_ns[(task - self.first) as usize] = ANSWERED;
        self.open -= 1;
        Some(due_ns)
    }

    /// Something else that makes the block worthless.
    pub(crate) fn fault(&mut self, what: String) {
        self.faults.add(|| what);
    }

    /// Tasks without an answer.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// Ends the block: how many tasks were lost, and all faults.
    pub(crate) fn end(&mut self) -> (u64, Vec<String>) {
        let lost = self.open;
        for (place, _) in self
            .due_ns
            .iter()
            .enumerate()
            .filter(|(_, due_ns)| **due_ns != ANSWERED)
        {
            let task = self.first + place as u64;
            self.faults.add(|| format!("task {task} got no outcome"));
        }
        let Faults { mut named, count } = std::mem::take(&mut self.faults);
        if count > named.len() as u64 {
            named.push(format!("and {} more faults", count - named.len() as u64));
        }
        (lost, named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(task: u64) -> Answer {
        Answer::Completed { task }
    }

    #[test]
    fn one_answer_each_is_no_fault() {
        let mut ledger = Ledger::default();
        ledger.begin();
        (10..13).for_each(|task| ledger.sent(task, task * 100));
        assert_eq!(ledger.answered(completed(11)), Some(1100));
        assert_eq!(ledger.answered(completed(10)), Some(1000));
        assert_eq!(ledger.open(), 1);
        assert_eq!(ledger.answered(completed(12)), Some(1200));
        assert_eq!(ledger.end(), (0, vec![]));
    }

    #[test]
    fn a_second_answer_is_named() {
        let mut ledger = Ledger::default();
        ledger.begin();
        ledger.sent(1, 5);
        assert_eq!(ledger.answered(completed(1)), Some(5));
        assert_eq!(ledger.answered(completed(1)), None);
        let (lost, faults) = ledger.end();
        assert_eq!((lost, faults.len()), (0, 1));
        assert!(faults[0].contains("task 1 "), "{faults:?}");
    }

    #[test]
    fn a_late_answer_of_the_last_block_is_a_fault() {
        let mut ledger = Ledger::default();
        ledger.begin();
        ledger.sent(1, 0);
        assert_eq!(ledger.end(), (1, vec!["task 1 got no outcome".into()]));
        ledger.begin();
        ledger.sent(2, 0);
        assert_eq!(ledger.answered(completed(1)), None);
        assert_eq!(ledger.answered(completed(2)), Some(0));
        assert_eq!(ledger.end().1.len(), 1);
    }

    #[test]
    fn a_part_that_nobody_waits_for_is_a_fault() {
        let mut ledger = Ledger::default();
        ledger.begin();
        ledger.sent(1, 0);
        assert_eq!(ledger.answered(Answer::Part { task: 0, worker: 3 }), None);
        assert_eq!(ledger.answered(completed(1)), Some(0));
        let (lost, faults) = ledger.end();
        assert_eq!((lost, faults.len()), (0, 1));
        assert!(faults[0].contains("task 0 "), "{faults:?}");
    }

    #[test]
    fn a_bad_end_is_told_and_many_faults_are_counted() {
        let mut ledger = Ledger::default();
        ledger.begin();
        (0..20).for_each(|task| ledger.sent(task, 0));
        assert_eq!(
            ledger.answered(Answer::Bad {
                task: 3,
                what: "WorkerLost"
            }),
            None
        );
        let (lost, faults) = ledger.end();
        assert_eq!(lost, 19);
        assert_eq!(faults[0], "task 3 ended as WorkerLost");
        assert_eq!(
            faults.last().map(String::as_str),
            Some("and 12 more faults")
        );
    }
}
