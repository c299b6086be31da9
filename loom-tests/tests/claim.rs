//! The claim word: who starts a task, and who may touch its payload.

use loom_tests::exec::{Cell, join, spawn, yield_now};
use loom_tests::{Census, Item, model};
use taskyard_core::{Revoked, Stamp, WorkerId};
use taskyard_dispatcher::{Payload, TaskOwner, task_table};

const WORKER: WorkerId = WorkerId(5);
const OTHER: WorkerId = WorkerId(6);
const SLOT: u32 = 0;

/// A payload that notices a second thread, also one that merely shares it.
#[derive(Debug)]
struct Watched {
    item: Item,
    shares: Cell<u32>,
}

impl Watched {
    fn new(item: Item) -> Self {
        Self {
            item,
            shares: Cell::new(0),
        }
    }

    fn number(&self) -> u32 {
        self.item.number()
    }
}

impl Payload for Watched {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, _index: usize) -> Option<&[u8]> {
        None
    }

    fn share(&self) -> Self {
        self.shares.set(self.shares.get() + 1);
        Self::new(self.item.twin())
    }
}

fn number(payload: Option<Watched>) -> Option<u32> {
    payload.map(|payload| payload.number())
}

/// What the dispatcher may do only after the claimant has reported; here it looks instead.
fn take_once_settled(owner: &mut TaskOwner<Watched>) -> Option<u32> {
    while !owner.is_settled(SLOT) {
        yield_now();
    }
    number(owner.take(SLOT))
}

/// A claim and a revoke of one publish: exactly one wins.
#[test]
fn claim_or_revoke_wins_never_both() {
    model("claim_or_revoke_wins_never_both", 4, || {
        let census = Census::default();
        let (mut owner, claimant) = task_table(1);
        owner.put(SLOT, Watched::new(census.item(1)));
        owner.publish(SLOT, Stamp(1));
        let claiming = spawn(move || number(claimant.claim(SLOT, Stamp(1), WORKER)));
        let revoked = owner.revoke(SLOT, Stamp(1));
        match join(claiming) {
            Some(1) => assert_eq!(revoked, Revoked::Lost),
            None => assert_eq!(revoked, Revoked::Won),
            Some(other) => panic!("claimed payload {other}"),
        }
        assert_eq!(
            owner.claimed_by(SLOT),
            (revoked == Revoked::Lost).then_some(WORKER)
        );
        drop(owner);
        assert_eq!(census.alive(), 0);
    });
}

/// The envelope of a revoked task does not start the next task of its slot.
#[test]
fn claim_by_a_tombstone_misses_the_next_task() {
    model("claim_by_a_tombstone_misses_the_next_task", 23, || {
        let census = Census::default();
        let (mut owner, claimant) = task_table(1);
        owner.put(SLOT, Watched::new(census.item(1)));
        owner.publish(SLOT, Stamp(1));
        let tombstone = {
            let claimant = claimant.clone();
            spawn(move || number(claimant.claim(SLOT, Stamp(1), WORKER)))
        };
        let revoked = owner.revoke(SLOT, Stamp(1));
        if revoked == Revoked::Won {
            owner.put(SLOT, Watched::new(census.item(2)));
            owner.publish(SLOT, Stamp(2));
        }
        let started = join(tombstone);
        assert_eq!(started, (revoked == Revoked::Lost).then_some(1));
        let next = number(claimant.claim(SLOT, Stamp(2), OTHER));
        assert_eq!(next, (revoked == Revoked::Won).then_some(2));
        drop((owner, claimant));
        assert_eq!(census.alive(), 0);
    });
}

/// A re-offer publishes the *same* task anew while its old envelope lives, here in the hands of a
/// thief. It is started once: by the thief, if the revoke was lost, else from the new envelope
/// only.
#[test]
fn claim_by_an_old_envelope_misses_the_reoffer() {
    model("claim_by_an_old_envelope_misses_the_reoffer", 90, || {
        let census = Census::default();
        let (mut owner, claimant) = task_table(1);
        owner.put(SLOT, Watched::new(census.item(1)));
        owner.publish(SLOT, Stamp(1));
        let [old, new] = [(Stamp(1), WORKER), (Stamp(2), OTHER)].map(|(stamp, worker)| {
            let claimant = claimant.clone();
            spawn(move || number(claimant.claim(SLOT, stamp, worker)))
        });
        let revoked = owner.revoke(SLOT, Stamp(1));
        if revoked == Revoked::Won {
            owner.publish(SLOT, Stamp(2));
        }
        let (by_old, by_new) = (join(old), join(new));
        match revoked {
            Revoked::Won => assert_eq!(by_old, None, "started from a tombstone"),
            Revoked::Lost => assert_eq!((by_old, by_new), (Some(1), None), "started twice"),
        }
        drop((owner, claimant));
        assert_eq!(census.alive(), 0);
    });
}

/// A claimant that sees a publish sees the payload, although nothing else joins the two threads.
#[test]
fn claim_sees_the_payload_that_was_published() {
    model("claim_sees_the_payload_that_was_published", 15, || {
        let census = Census::default();
        let (mut owner, claimant) = task_table(1);
        let claiming = spawn(move || number(claimant.claim(SLOT, Stamp(1), WORKER)));
        owner.put(SLOT, Watched::new(census.item(1)));
        owner.publish(SLOT, Stamp(1));
        let started = join(claiming);
        assert!(matches!(started, None | Some(1)), "{started:?}");
        drop(owner);
        assert_eq!(census.alive(), 0);
    });
}

/// Only the winner touches the payload: the owner reuses the slot at once if it has won the revoke,
/// and otherwise not before the claimant has left it.
#[test]
fn claim_keeps_the_slot_until_the_claimant_has_left() {
    model(
        "claim_keeps_the_slot_until_the_claimant_has_left",
        16,
        || {
            let census = Census::default();
            let (mut owner, claimant) = task_table(1);
            owner.put(SLOT, Watched::new(census.item(1)));
            owner.publish(SLOT, Stamp(1));
            let claiming = spawn(move || number(claimant.claim(SLOT, Stamp(1), WORKER)));
            if owner.revoke(SLOT, Stamp(1)) == Revoked::Lost {
                assert_eq!(take_once_settled(&mut owner), Some(1));
            }
            owner.put(SLOT, Watched::new(census.item(2)));
            join(claiming);
            assert_eq!(number(owner.take(SLOT)), Some(2));
            assert_eq!(census.alive(), 0);
        },
    );
}

/// A task that ran, was lost and is published again: the second claimant comes to the payload after
/// the first has left it, so a payload may count its shares without atomics.
#[test]
fn claims_of_two_attempts_are_ordered() {
    model("claims_of_two_attempts_are_ordered", 95, || {
        let census = Census::default();
        let (mut owner, claimant) = task_table(1);
        owner.put(SLOT, Watched::new(census.item(1)));
        owner.publish(SLOT, Stamp(1));
        let [first, second] = [(Stamp(1), WORKER), (Stamp(2), OTHER)].map(|(stamp, worker)| {
            let claimant = claimant.clone();
            spawn(move || number(claimant.claim(SLOT, stamp, worker)))
        });
        if owner.revoke(SLOT, Stamp(1)) == Revoked::Won || owner.is_settled(SLOT) {
            owner.publish(SLOT, Stamp(2));
        }
        let attempts = [join(first), join(second)];
        assert!(
            attempts.iter().flatten().all(|&payload| payload == 1),
            "{attempts:?}"
        );
        drop((owner, claimant));
        assert_eq!(census.alive(), 0);
    });
}
