//! A client's and a worker's state among messages of a controller that errs, or is none: it says
//! what it likes, and the program behind the state still gets at most one outcome for each of its
//! tasks, and no task twice.

mod client;
mod words;
mod worker;

use std::collections::VecDeque;

use arbitrary::{Arbitrary, Unstructured};
use arrayvec::ArrayVec;
use taskyard_protocol::wire::{Head, Header, Message};
use taskyard_protocol::{SendError, Wire};

use client::{ClientOperation, ClientStage};
use worker::{WorkerOperation, WorkerStage};

pub(crate) type Bytes = ArrayVec<u8, 8>;

/// More operations find nothing that fewer do not, only later.
const OPERATIONS_MAX: usize = 200;

/// A rule that is broken on purpose: whoever checks must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program is told outcomes that were here before.
    Repeat,
    /// A result is forgotten as if it were acknowledged.
    Forget,
}

/// How much of it made sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that meant something to the program.
    pub events: u64,
    /// Messages that could not be understood.
    pub garbage: u64,
    /// Tasks that have their outcome, or their result on the way.
    pub done: u64,
    /// Messages that it sent.
    pub sent: u64,
}

/// One side's operation. Both sides are played in each run: what is said to one is no news to the
/// other.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Operation {
    Client(ClientOperation),
    Worker(WorkerOperation),
    /// The wire takes no more, or takes again.
    Wire(bool),
}

/// Reads the bytes as operations and performs them; the counters at the end.
///
/// # Panics
/// A state is broken.
pub fn run(bytes: &[u8]) -> Counters {
    run_with(bytes, None)
}

/// The same, with a rule broken.
///
/// # Panics
/// A state is broken, or the broken rule was noticed.
pub fn run_with(bytes: &[u8], fault: Option<Fault>) -> Counters {
    let mut counters = Counters::default();
    let mut bytes = Unstructured::new(bytes);
    let mut client = ClientStage::new(fault);
    let mut worker = WorkerStage::new(fault);
    for _ in 0..OPERATIONS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else {
            break;
        };
        match operation {
            Operation::Client(operation) => client.perform(operation, &mut counters),
            Operation::Worker(operation) => worker.perform(operation, &mut counters),
            Operation::Wire(open) => {
                client.wire.closed = !open;
                worker.wire.closed = !open;
            }
        }
    }
    counters.sent = client.wire.count + worker.wire.count;
    counters
}

/// The way to the controller: what was said on it is looked at once.
#[derive(Debug, Default)]
struct Mouth {
    said: VecDeque<Header>,
    closed: bool,
    count: u64,
}

impl Wire<Bytes> for Mouth {
    fn send(&mut self, head: &mut Head, _: Option<Bytes>) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Full);
        }
        let message = Message::decode(head.as_slice()).expect("it speaks the protocol");
        self.said.push_back(message.header);
        self.count += 1;
        Ok(())
    }
}
