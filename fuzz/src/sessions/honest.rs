//! Peers that keep to the protocol, with what each of them may expect.

use std::collections::{BTreeMap, BTreeSet};

use taskyard_core::{Epoch, Outcome, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_protocol::remote::{
    Assignment, ClientEvent, ClientState, WorkerEvent, WorkerProfile, WorkerState,
};

use super::network::{Bytes, Mouth, Packet, Place};
use super::operation::Goal;

/// What honest workers have said, by incarnation and task: nobody else can say it for them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    incarnations: BTreeSet<(WorkerId, Epoch)>,
    /// Ids of places and epochs begin anew with each controller: what they say is not looked at any
    /// more.
    restarted: bool,
    said: BTreeSet<(WorkerId, Epoch, u64, bool)>,
    /// How often each task may start.
    pub(super) allowed: BTreeMap<u64, u8>,
}

impl Ledger {
    pub(super) fn forget_incarnations(&mut self) {
        self.incarnations.clear();
        self.restarted = true;
    }

    /// An outcome that names an honest worker is what that worker has said.
    fn check(&self, number: u64, outcome: Outcome, by: (WorkerId, Epoch), payload: Option<&Bytes>) {
        let completed = match outcome {
            Outcome::Completed => true,
            Outcome::Failed => false,
            _ => return,
        };
        if self.incarnations.contains(&by) && !self.restarted {
            let said = self.said.contains(&(by.0, by.1, number, completed));
            assert!(said, "{outcome:?} of {number}, which {by:?} never said");
            if completed {
                assert_eq!(payload, Some(&bytes_of(number)), "another's result");
            }
        }
    }
}

pub(super) fn bytes_of(number: u64) -> Bytes {
    number.to_le_bytes().into_iter().collect()
}

#[derive(Debug)]
pub(super) struct Client {
    state: ClientState<Bytes>,
    pub(super) mouth: Mouth,
    pub(super) place: Place,
    /// Its tasks have this in the upper half of their numbers.
    tag: u64,
    open: BTreeSet<u64>,
    refused: bool,
}

impl Client {
    pub(super) fn new(key: u128, tag: u64, place: Place) -> Self {
        Self {
            state: ClientState::new(key),
            mouth: Mouth::default(),
            place,
            tag,
            open: BTreeSet::new(),
            refused: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        assert_eq!(
            self.open.len(),
            self.state.outstanding(),
            "tasks and outcomes"
        );
        self.open.is_empty()
    }

    pub(super) fn submit(
        &mut self,
        ledger: &mut Ledger,
        (task, goal, attempts, within): (u8, Goal, u8, u8),
    ) {
        let number = self.tag << 32 | u64::from(task % 16);
        let (target, name) = match goal {
            Goal::Any => (Target::Any, None),
            Goal::Worker(worker) => (Target::Worker(WorkerId(u32::from(worker % 5))), None),
            Goal::Named(name) => (Target::Any, Some(name_of(name))),
            Goal::All => (Target::All, None),
        };
        let submit = Submit::new(TaskId(number), target)
            .attempts(attempts % 4)
            .start_within_ms(u32::from(within.saturating_sub(200)));
        let taken = self
            .state
            .submit(submit, name, bytes_of(number), &mut self.mouth);
        assert_eq!(
            taken.is_ok(),
            self.open.insert(number),
            "a number is in use"
        );
        // The same number may be used again, once it has its outcome: it starts as often anew.
        if taken.is_ok() {
            // One that may run again may do so for each record of its client.
            let most = match goal {
                Goal::All => u8::MAX,
                _ if attempts % 4 == 1 => 1,
                _ => u8::MAX,
            };
            let allowed = ledger.allowed.entry(number).or_default();
            *allowed = allowed.saturating_add(most);
        }
    }

    pub(super) fn cancel(&mut self, task: u8) {
        let number = self.tag << 32 | u64::from(task % 16);
        self.state.cancel(TaskId(number), &mut self.mouth);
    }

    pub(super) fn acknowledge(&mut self) {
        self.state.acknowledge(&mut self.mouth);
    }

    pub(super) fn anew(&mut self) {
        self.refused = false;
        self.state.hello(&mut self.mouth);
    }

    pub(super) fn retry(&mut self) {
        if self.refused {
            self.anew();
        }
    }

    pub(super) fn hear(&mut self, ledger: &Ledger, packet: &Packet) {
        let event = self
            .state
            .handle_message(&packet.first, packet.incoming(), &mut self.mouth)
            .expect("the controller keeps to the protocol");
        match event {
            Some(ClientEvent::Outcome {
                task,
                outcome,
                worker,
                part,
                payload,
                ..
            }) => {
                assert!(self.open.contains(&task.0), "an outcome of {task:?}");
                if !part {
                    self.open.remove(&task.0);
                }
                if let Some(by) = worker {
                    ledger.check(task.0, outcome, by, payload.as_ref());
                }
            }
            Some(ClientEvent::Rejected(_)) => self.refused = true,
            _ => {}
        }
    }
}

pub(super) const fn name_of(name: u8) -> &'static str {
    ["honest.0", "honest.1", "other"][name as usize % 3]
}

#[derive(Debug)]
pub(super) struct Worker {
    state: WorkerState<Bytes>,
    pub(super) mouth: Mouth,
    pub(super) place: Place,
    running: Vec<(Assignment, u64)>,
    started: BTreeSet<(u64, u64, u8)>,
    refused: bool,
}

impl Worker {
    pub(super) fn new(name: u8, instance: u64, place: Place) -> Self {
        let profile = WorkerProfile {
            name: name_of(name).into(),
            instance,
            slots: 2,
            labels: Vec::new(),
            prefetch: 1,
        };
        Self {
            state: WorkerState::new(profile),
            mouth: Mouth::default(),
            place,
            running: Vec::new(),
            started: BTreeSet::new(),
            refused: false,
        }
    }

    pub(super) fn anew(&mut self) {
        self.refused = false;
        self.state.register(&mut self.mouth);
    }

    pub(super) fn retry(&mut self) {
        if self.refused {
            self.anew();
        }
    }

    pub(super) fn tend(&mut self) {
        while let Some((assignment, payload)) = self.state.poll_waiting(&mut self.mouth) {
            self.start(assignment, &payload);
        }
    }

    /// Reports one of those that run; false if none does.
    pub(super) fn report(&mut self, ledger: &mut Ledger, at: u8, failed: bool) -> bool {
        if self.running.is_empty() {
            return false;
        }
        let at = usize::from(at) % self.running.len();
        let (assignment, number) = self.running.swap_remove(at);
        let verdict = if failed {
            Verdict::Failed
        } else {
            Verdict::Completed
        };
        let (worker, epoch) = (assignment.worker, assignment.epoch);
        ledger.said.insert((worker, epoch, number, !failed));
        let taken = self.state.report(
            &assignment,
            verdict,
            Some(bytes_of(number)),
            &mut self.mouth,
        );
        assert!(taken, "it runs");
        true
    }

    fn start(&mut self, assignment: Assignment, payload: &Bytes) {
        let bytes = <[u8; 8]>::try_from(payload.as_slice());
        // A hostile client's task has any payload.
        let number = bytes.map_or(u64::MAX, u64::from_le_bytes);
        let (handle, attempt) = (assignment.handle.to_bits(), assignment.attempt.0);
        let first = self.started.insert((handle, assignment.boot, attempt));
        assert!(first, "{assignment:?} starts twice");
        self.running.push((assignment, number));
    }

    pub(super) fn hear(&mut self, ledger: &mut Ledger, packet: &Packet) {
        let event = self
            .state
            .handle_message(&packet.first, packet.incoming(), &mut self.mouth)
            .expect("the controller keeps to the protocol");
        match event {
            Some(WorkerEvent::Registered { worker, epoch }) => {
                ledger.incarnations.insert((worker, epoch));
            }
            Some(WorkerEvent::Task(assignment, payload)) => self.start(assignment, &payload),
            Some(WorkerEvent::Evicted) => self.anew(),
            Some(WorkerEvent::Rejected(_)) => self.refused = true,
            _ => {}
        }
        assert!(self.state.running().len() <= 2, "more than there are slots");
        assert!(
            self.state.waiting() <= 3,
            "more in advance than was asked for"
        );
    }
}
