//! The worker's side.

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use taskyard_core::Verdict;
use taskyard_protocol::Incoming;
use taskyard_protocol::remote::{Assignment, WorkerEvent, WorkerProfile, WorkerState};
use taskyard_protocol::wire::{Header, Kind};

use super::words::{Due, Wording};
use super::{Bytes, Counters, Fault, Mouth};

const SLOTS: u16 = 2;
const PREFETCH: u16 = 3;

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum WorkerOperation {
    Hear(Wording),
    Raw(u8, [u8; 34]),
    Start,
    Report { at: u8, empty: bool },
    Register,
    Pump,
    Unsettle,
    Leave,
}

#[derive(Debug)]
pub(super) struct WorkerStage {
    state: WorkerState<Bytes>,
    pub(super) wire: Mouth,
    running: Vec<Assignment>,
    /// Reported, and not acknowledged as far as it can be known from outside.
    reported: BTreeSet<(u64, u8)>,
    number: u32,
    last_seq: u32,
    fault: Option<Fault>,
}

impl WorkerStage {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        let profile = WorkerProfile {
            name: "w".into(),
            instance: 0x5eed,
            slots: SLOTS,
            labels: Vec::new(),
            prefetch: PREFETCH,
        };
        Self {
            state: WorkerState::new(profile),
            wire: Mouth::default(),
            running: Vec::new(),
            reported: BTreeSet::new(),
            number: 0,
            last_seq: 0,
            fault,
        }
    }

    pub(super) fn perform(&mut self, operation: WorkerOperation, counters: &mut Counters) {
        match operation {
            WorkerOperation::Hear(wording) => {
                let registered = self.state.registered();
                let due = Due {
                    number: self.number,
                    worker: registered.map_or(0, |(worker, _)| worker.0),
                    epoch: registered.map_or(0, |(_, epoch)| epoch.0),
                };
                self.hear(&wording.first_frame(due), wording.incoming(), counters);
            }
            WorkerOperation::Raw(len, bytes) => {
                let first = &bytes[..usize::from(len) % (bytes.len() + 1)];
                self.hear(first, Incoming::Alone, counters);
            }
            WorkerOperation::Start => {
                if let Some((assignment, _)) = self.state.poll_waiting(&mut self.wire) {
                    self.start(assignment);
                }
            }
            WorkerOperation::Report { at, empty } => {
                if !self.running.is_empty() {
                    let at = usize::from(at) % self.running.len();
                    self.report(at, empty);
                    counters.done += 1;
                }
            }
            WorkerOperation::Register => self.state.register(&mut self.wire),
            WorkerOperation::Pump => _ = self.state.pump(&mut self.wire),
            WorkerOperation::Unsettle => self.state.unsettle(),
            WorkerOperation::Leave => self.state.leave(&mut self.wire),
        }
        self.check();
    }

    fn report(&mut self, at: usize, empty: bool) {
        let assignment = self.running.swap_remove(at);
        let payload = (!empty).then(|| Bytes::from([1; 8]));
        let before = self.state.unacknowledged();
        let report = |state: &mut WorkerState<Bytes>, wire: &mut Mouth, payload| {
            state.report(&assignment, Verdict::Completed, payload, wire)
        };
        assert!(report(&mut self.state, &mut self.wire, payload), "it runs");
        let again = report(&mut self.state, &mut self.wire, None);
        assert!(!again, "it was reported before");
        let forgotten = usize::from(self.fault == Some(Fault::Forget));
        let kept = self.state.unacknowledged() - forgotten;
        assert_eq!(kept, before + 1, "a result is kept");
        self.reported
            .insert((assignment.handle.to_bits(), assignment.attempt.0));
    }

    fn hear(&mut self, first: &[u8], incoming: Incoming<Bytes>, counters: &mut Counters) {
        let before = self.state.unacknowledged();
        let heard = self.state.handle_message(first, incoming, &mut self.wire);
        let after = self.state.unacknowledged();
        if after < before {
            let header = Header::decode(first).expect("it was understood").0;
            let may = matches!(
                header.kind,
                Kind::Ack | Kind::Task | Kind::Registered | Kind::Redirect
            );
            assert!(may, "{:?} acknowledges", header.kind);
            assert!(header.ack > 0, "nothing was acknowledged");
        }
        match heard {
            Ok(Some(WorkerEvent::Task(assignment, _))) => {
                counters.events += 1;
                self.start(assignment);
            }
            Ok(Some(_)) => counters.events += 1,
            Ok(None) => {}
            Err(_) => {
                counters.garbage += 1;
                assert_eq!(after, before, "garbage changes nothing");
            }
        }
    }

    fn start(&mut self, assignment: Assignment) {
        assert!(!self.running.contains(&assignment), "{assignment:?} runs");
        self.running.push(assignment);
    }

    /// Memory is bounded, whatever the controller says; what was sent is numbered without gaps, and
    /// is about what it was given.
    fn check(&mut self) {
        assert_eq!(self.state.running().len(), self.running.len());
        let sent_max = 2 * usize::from(SLOTS + PREFETCH);
        let sent = self.running.len() + self.state.waiting();
        assert!(sent <= sent_max, "{sent} tasks at once");
        while let Some(header) = self.wire.said.pop_front() {
            match header.kind {
                Kind::Register => {
                    assert!(header.seq > self.number, "registrations rise");
                    self.number = header.seq;
                    self.last_seq = 0;
                }
                Kind::Result => {
                    assert_eq!(header.seq, self.last_seq + 1, "results are numbered");
                    self.last_seq = header.seq;
                    let known = self.reported.contains(&(header.id, header.attempt));
                    assert!(known, "a made-up result");
                }
                // The verdict of one that still runs.
                Kind::HandIn if header.code == 3 => {
                    let mut running = self.running.iter();
                    let known = running.any(|other| other.handle.to_bits() == header.id);
                    assert!(known, "it does not run");
                }
                Kind::HandIn => {
                    let known = self.reported.contains(&(header.id, header.attempt));
                    assert!(known, "a made-up result");
                }
                Kind::Started | Kind::Revoked | Kind::Pong | Kind::Leave => {}
                kind => panic!("a worker says {kind:?}"),
            }
        }
    }
}
