//! A task's whole way: stored and published, through a mailbox, woken for, claimed, reported back
//! and taken out of its slot.

use loom_tests::exec::{join, spawn};
use loom_tests::model;
use taskyard_core::{Attempt, Envelope, Stamp, TaskHandle, WorkerId};
use taskyard_dispatcher::{
    Bell, Consumer, Listener, Producer, TaskClaimant, TaskOwner, ThreadParker, doorbell, ring,
    task_table,
};

const WORKER: WorkerId = WorkerId(0);
const PAYLOAD: [u8; 2] = *b"in";

/// One direction between two threads: a ring, its bell, and how the reader sleeps.
struct Inlet<T> {
    consumer: Consumer<T>,
    listener: Listener,
    parker: ThreadParker,
}

fn inlet<T: Send>() -> (Outlet<T>, Inlet<T>) {
    let parker = ThreadParker::new();
    let (bell, listener) = doorbell(1, parker.unparker());
    let (producer, consumer) = ring(2);
    (
        Outlet { producer, bell },
        Inlet {
            consumer,
            listener,
            parker,
        },
    )
}

impl<T: Send> Inlet<T> {
    /// Sleeps until there is something.
    fn receive(&mut self) -> T {
        loop {
            if let Some(item) = self.listener.next().and_then(|_| self.consumer.pop()) {
                return item;
            }
            if self.listener.announce() {
                self.parker.park();
                self.listener.retract();
            }
        }
    }
}

struct Outlet<T> {
    producer: Producer<T>,
    bell: Bell,
}

impl<T: Send> Outlet<T> {
    fn send(&mut self, item: T) {
        assert!(self.producer.has_room(1));
        assert!(self.producer.push(item).is_ok());
        self.bell.ring(0);
    }
}

fn work(
    mailbox: &mut Inlet<Envelope>,
    tasks: &TaskClaimant<[u8; 2]>,
    events: &mut Outlet<Envelope>,
) {
    let envelope = mailbox.receive();
    let payload = tasks.claim(envelope.handle.index(), envelope.stamp, WORKER);
    assert_eq!(payload, Some(PAYLOAD));
    events.send(envelope);
}

fn dispatch(
    tasks: &mut TaskOwner<[u8; 2]>,
    mailbox: &mut Outlet<Envelope>,
    events: &mut Inlet<Envelope>,
) {
    let handle = TaskHandle::new(0, 0);
    let envelope = Envelope {
        origin: None,
        handle,
        stamp: Stamp(1),
        attempt: Attempt(1),
    };
    tasks.put(handle.index(), PAYLOAD);
    tasks.publish(handle.index(), envelope.stamp);
    mailbox.send(envelope);

    assert_eq!(events.receive(), envelope);
    assert_eq!(tasks.claimed_by(handle.index()), Some(WORKER));
    // No look at `is_settled`: the report came after the claimant had left the payload.
    assert_eq!(tasks.take(handle.index()), Some(PAYLOAD));
}

#[test]
fn composed_task_goes_there_and_back() {
    model("composed_task_goes_there_and_back", 180, || {
        let (mut owner, claimant) = task_table(1);
        let (mut mailbox_in, mut mailbox_out) = inlet();
        let (mut events_in, mut events_out) = inlet();
        let working = spawn(move || work(&mut mailbox_out, &claimant, &mut events_in));
        let dispatching = spawn(move || dispatch(&mut owner, &mut mailbox_in, &mut events_out));
        join(working);
        join(dispatching);
    });
}
