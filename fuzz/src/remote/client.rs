//! The client's side.

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use taskyard_core::{Epoch, Submit, Target, TaskId};
use taskyard_protocol::remote::{ClientEvent, ClientState};
use taskyard_protocol::wire::Kind;

use super::words::{Due, Wording};
use super::{Bytes, Counters, Fault, Mouth};

#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum ClientOperation {
    Hear(Wording),
    Raw(u8, [u8; 34]),
    Submit {
        task: u8,
        all: bool,
        name: Option<u8>,
    },
    Cancel(u8),
    Acknowledge,
    Hello,
    Pump,
    Goodbye,
}

#[derive(Debug)]
pub(super) struct ClientStage {
    state: ClientState<Bytes>,
    pub(super) wire: Mouth,
    /// Tasks without an outcome.
    open: BTreeSet<TaskId>,
    /// Parts of those that are multicasts.
    parts: BTreeSet<(TaskId, Epoch)>,
    last_seq: u32,
    session: u32,
    left: bool,
    fault: Option<Fault>,
}

impl ClientStage {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self {
            state: ClientState::new(0x5eed),
            wire: Mouth::default(),
            open: BTreeSet::new(),
            parts: BTreeSet::new(),
            last_seq: 0,
            session: 0,
            left: false,
            fault,
        }
    }

    pub(super) fn perform(&mut self, operation: ClientOperation, counters: &mut Counters) {
        match operation {
            ClientOperation::Hear(wording) => {
                let due = Due {
                    number: self.session,
                    worker: 1,
                    epoch: 1,
                };
                self.hear(&wording.first_frame(due), &wording, counters);
            }
            ClientOperation::Raw(len, bytes) => {
                let first = &bytes[..usize::from(len) % (bytes.len() + 1)];
                let heard = self.state.handle_message(
                    first,
                    taskyard_protocol::Incoming::Alone,
                    &mut self.wire,
                );
                counters.garbage += u64::from(heard.is_err());
                if let Ok(Some(event)) = heard {
                    self.note(&event, counters);
                }
            }
            ClientOperation::Submit { task, all, name } => self.submit(task, all, name),
            ClientOperation::Cancel(task) => {
                let task = TaskId(u64::from(task % 16));
                let known = self.state.cancel(task, &mut self.wire);
                assert_eq!(known, self.open.contains(&task), "cancelled: {task:?}");
            }
            ClientOperation::Acknowledge => self.state.acknowledge(&mut self.wire),
            ClientOperation::Hello => self.state.hello(&mut self.wire),
            ClientOperation::Pump => _ = self.state.pump(&mut self.wire),
            ClientOperation::Goodbye => {
                self.state.goodbye(&mut self.wire);
                self.left = true;
                self.open.clear();
            }
        }
        self.check();
    }

    fn submit(&mut self, task: u8, all: bool, name: Option<u8>) {
        let id = TaskId(u64::from(task % 16));
        let target = if all { Target::All } else { Target::Any };
        let name = name.map(|len| &"abcdefgh"[..usize::from(len % 9)]);
        let payload = Bytes::from([task; 8]);
        let taken = self
            .state
            .submit(Submit::new(id, target), name, payload, &mut self.wire);
        let sense = !self.left && name != Some("");
        assert_eq!(taken.is_ok(), sense && !self.open.contains(&id));
        if taken.is_ok() {
            self.open.insert(id);
            self.parts.retain(|(part, _)| *part != id);
        }
    }

    fn hear(&mut self, first: &[u8], wording: &Wording, counters: &mut Counters) {
        let heard = self
            .state
            .handle_message(first, wording.incoming(), &mut self.wire);
        match heard {
            Ok(Some(event)) => {
                self.note(&event, counters);
                if self.fault == Some(Fault::Repeat) {
                    self.note(&event, counters);
                }
            }
            Ok(None) => {}
            Err(_) => counters.garbage += 1,
        }
    }

    fn note(&mut self, event: &ClientEvent<Bytes>, counters: &mut Counters) {
        counters.events += 1;
        if let ClientEvent::Outcome {
            task, part, worker, ..
        } = *event
        {
            assert!(
                self.open.contains(&task),
                "{task:?} has its outcome already"
            );
            if part {
                let (_, epoch) = worker.expect("a part has a worker");
                assert!(self.parts.insert((task, epoch)), "a part came twice");
            } else {
                self.open.remove(&task);
                counters.done += 1;
            }
        }
    }

    /// What was sent is numbered without gaps, is about tasks that are open, and nothing is sent
    /// outside a session but what begins one.
    fn check(&mut self) {
        assert_eq!(
            self.state.outstanding(),
            self.open.len(),
            "tasks without an outcome"
        );
        while let Some(header) = self.wire.said.pop_front() {
            match header.kind {
                Kind::ClientHello => {
                    assert!(header.seq > self.session, "sessions rise");
                    self.session = header.seq;
                    self.last_seq = 0;
                }
                Kind::Submit | Kind::Cancel => {
                    assert!(!self.left, "it has left");
                    assert_eq!(header.seq, self.last_seq + 1, "{:?}", header.kind);
                    self.last_seq = header.seq;
                }
                Kind::Ack | Kind::Pong | Kind::Goodbye => {}
                kind => panic!("a client says {kind:?}"),
            }
        }
    }
}
