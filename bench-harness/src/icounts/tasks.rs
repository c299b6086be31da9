//! Tasks through the scheduler alone: what the dispatcher's thread does for each of them.

use std::collections::VecDeque;

use taskyard_core::{Envelope, Epoch, Submit, Target, TaskId, WorkerId};

use super::region::measured;
use super::rig::{LABEL, Rig};

/// Operations of one count.
const ROUNDS: u32 = 256;
/// Tasks that one duty cycle handles: events first, then effects, then replies, as the dispatcher
/// does it. What a cycle costs by itself is shared by so many.
const CYCLE: u32 = 8;
/// Tasks of the worker that is lost.
const LOST: u32 = 1_000;

pub(super) fn directed(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 2 * ROUNDS);
    let busy = rig.busy();
    for _ in 0..queued {
        rig.submit(|task| Submit::new(task, Target::Worker(busy.0)));
    }
    rig.effects();
    measured(&mut || {
        for _ in 0..ROUNDS / CYCLE {
            for _ in 0..CYCLE {
                rig.submit(|task| Submit::new(task, Target::Worker(busy.0)));
            }
            for _ in 0..CYCLE {
                let (_, envelope) = rig.offered.pop_front().expect("so many are always out");
                rig.complete(busy, envelope);
            }
            rig.effects();
            rig.replies();
        }
    });
    assert_eq!(rig.outcomes, u64::from(ROUNDS), "an outcome each");
    ROUNDS.into()
}

pub(super) fn pool(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, workers + queued + 2 * ROUNDS);
    for _ in 0..workers + queued {
        rig.submit(|task| Submit::new(task, Target::Any));
    }
    let mut injected = VecDeque::with_capacity(8_192);
    let mut running = VecDeque::with_capacity(8_192);
    let mut idle = VecDeque::with_capacity(64);
    let cycle = CYCLE.min(workers);
    inject(&mut rig, &mut injected);
    for at in 0..workers as usize {
        let worker = rig.workers[at];
        let envelope = injected.pop_front().expect("a window per free slot");
        claim(&mut rig, worker, envelope);
        running.push_back((worker, envelope));
        inject(&mut rig, &mut injected);
    }
    rig.effects();
    measured(&mut || {
        for _ in 0..ROUNDS / cycle {
            for _ in 0..cycle {
                rig.submit(|task| Submit::new(task, Target::Any));
                let (worker, envelope) = running.pop_front().expect("all workers run something");
                rig.complete(worker, envelope);
                // Taken by then, or put there by the cycle's end.
                idle.push_back(worker);
            }
            rig.effects();
            inject(&mut rig, &mut injected);
            rig.replies();
            while let (Some(worker), Some(envelope)) = (idle.front(), injected.pop_front()) {
                claim(&mut rig, *worker, envelope);
                running.push_back((*worker, envelope));
                idle.pop_front();
            }
        }
    });
    assert_eq!(rig.outcomes, u64::from(ROUNDS), "an outcome each");
    ROUNDS.into()
}

fn inject(rig: &mut Rig, injected: &mut VecDeque<Envelope>) {
    while let Some(envelope) = rig.scheduler.poll_inject(rig.now) {
        injected.push_back(envelope);
    }
}

fn claim(rig: &mut Rig, (worker, epoch): (WorkerId, Epoch), envelope: Envelope) {
    let Envelope {
        handle, attempt, ..
    } = envelope;
    rig.scheduler
        .handle_claimed(rig.now, handle, attempt, worker, epoch);
}

/// A label's tasks are offered to mailboxes, not injected: to whoever of its workers is least busy.
pub(super) fn label(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, workers + queued + 2 * ROUNDS);
    for _ in 0..workers + queued {
        rig.submit(|task| Submit::new(task, Target::Label(LABEL)));
    }
    rig.effects();
    measured(&mut || {
        for _ in 0..ROUNDS {
            rig.submit(|task| Submit::new(task, Target::Label(LABEL)));
            let (worker, envelope) = rig.offered.pop_front().expect("all workers have one");
            let worker = rig.workers[worker.0 as usize];
            rig.complete(worker, envelope);
            rig.effects();
            rig.replies();
        }
    });
    assert_eq!(rig.outcomes, u64::from(ROUNDS), "an outcome each");
    ROUNDS.into()
}

pub(super) fn cancel_queued(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 2 * ROUNDS);
    rig.fill_backlog(queued, 0);
    // The first tasks are in the mailbox by now; from the middle on all wait in the core.
    let middle = u64::from(queued / 2);
    measured(&mut || {
        for round in 0..u64::from(ROUNDS) {
            let task = TaskId(middle + round);
            rig.scheduler.handle_cancel(rig.now, rig.client, task);
            rig.effects();
            rig.replies();
        }
    });
    assert_eq!(rig.outcomes, u64::from(ROUNDS), "an outcome each");
    ROUNDS.into()
}

/// Tasks whose deadline passes wait behind `queued` others.
pub(super) fn deadline(workers: u32, queued: u32, start_within_ms: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 2 * ROUNDS);
    rig.fill_backlog(queued, start_within_ms);
    let target = Target::Worker(rig.busy().0);
    for number in 0..ROUNDS {
        rig.submit(|task| Submit::new(task, target).start_within_ms(10 + number / 8));
    }
    // The wheel catches up with a clock that did not start at zero.
    rig.scheduler.handle_timeout(rig.now);
    let end = rig.now.after_ms(100);
    measured(&mut || {
        while rig.now < end {
            rig.now = rig.now.after_ms(1);
            while let Some(due) = rig.scheduler.next_timeout()
                && due <= rig.now
            {
                rig.scheduler.handle_timeout(rig.now);
                rig.effects();
            }
            rig.replies();
        }
    });
    assert_eq!(rig.outcomes, u64::from(ROUNDS), "an outcome each");
    ROUNDS.into()
}

pub(super) fn worker_loss(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 2 * LOST);
    rig.fill_backlog(queued, 0);
    let (lost, epoch) = rig.workers[0];
    for _ in 0..LOST {
        rig.submit(|task| Submit::new(task, Target::Worker(lost)));
    }
    rig.effects();
    measured(&mut || {
        rig.scheduler
            .handle_worker_down(rig.now, lost, epoch, taskyard_core::Loss::Closed);
        rig.effects();
        rig.replies();
    });
    assert_eq!(rig.outcomes, u64::from(LOST), "an outcome each");
    LOST.into()
}
