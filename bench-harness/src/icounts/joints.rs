//! The lock-free joints and the wire format, by themselves: one thread, so nobody is in the way.

use std::hint::black_box;

use taskyard_core::{Revoked, Stamp, WorkerId};
use taskyard_dispatcher::{ThreadParker, doorbell, pool as new_pool, ring as new_ring, task_table};
use taskyard_protocol::wire::{Head, Header, Kind, Message};

use super::region::measured;

/// Operations of one count.
const ROUNDS: u64 = 1_024;
/// Rings behind one doorbell.
const RINGS: u32 = 1_024;
/// As large as what goes through a mailbox.
type Item = [u64; 3];

/// One operation is a push and the pop of what it pushed.
pub(super) fn ring() -> u64 {
    let (mut producer, mut consumer) = new_ring::<Item>(64);
    measured(&mut || {
        for round in 0..ROUNDS {
            assert!(producer.push(black_box([round; 3])).is_ok(), "it is empty");
            black_box(consumer.pop());
        }
    });
    ROUNDS
}

/// One operation is a push and the theft of what it pushed, with nobody in the way.
pub(super) fn pool() -> u64 {
    let (mut injector, stealer) = new_pool::<Item>(64);
    measured(&mut || {
        for round in 0..ROUNDS {
            assert!(injector.push(black_box([round; 3])).is_ok(), "it is empty");
            black_box(stealer.steal());
        }
    });
    ROUNDS
}

/// One operation is a whole stay in the table: put, publish, claim with its share, take.
pub(super) fn claim() -> u64 {
    let (mut owner, claimant) = task_table::<[u8; 24]>(64);
    measured(&mut || {
        for round in 1..=ROUNDS {
            let (index, stamp) = ((round % 64) as u32, Stamp(round));
            owner.put(index, black_box([7; 24]));
            owner.publish(index, stamp);
            let payload = claimant.claim(index, stamp, WorkerId(7));
            assert!(black_box(payload).is_some(), "nobody else claims");
            owner.take(index);
        }
    });
    ROUNDS
}

/// As [`claim`], but withdrawn instead of claimed: put, publish, revoke, take.
pub(super) fn revoke() -> u64 {
    let (mut owner, _claimant) = task_table::<[u8; 24]>(64);
    measured(&mut || {
        for round in 1..=ROUNDS {
            let (index, stamp) = ((round % 64) as u32, Stamp(round));
            owner.put(index, black_box([7; 24]));
            owner.publish(index, stamp);
            assert_eq!(owner.revoke(index, stamp), Revoked::Won, "nobody claims");
            owner.take(index);
        }
    });
    ROUNDS
}

/// One operation is a whole scan, until there is nothing more.
pub(super) fn bells(rung: u32) -> u64 {
    const SCANS: u64 = 64;
    let (bell, mut listener) = doorbell(RINGS as usize, ThreadParker::new().unparker());
    let mut answered = 0;
    for _ in 0..SCANS {
        for index in 0..rung {
            bell.ring(index * (RINGS / rung));
        }
        measured(&mut || {
            while let Some(index) = listener.next() {
                answered += 1;
                black_box(index);
            }
        });
    }
    assert_eq!(answered, u64::from(rung) * SCANS, "each bell once");
    SCANS
}

pub(super) fn wire_decode() -> u64 {
    let head = Head::new(&Header::new(Kind::Submit)).deadlines(1_000, 60_000);
    let frame = [head.as_slice(), &[7; 64]].concat();
    measured(&mut || {
        for _ in 0..ROUNDS {
            let message = Message::decode(black_box(&frame));
            assert!(black_box(message).is_ok(), "it is well formed");
        }
    });
    ROUNDS
}
