//! Queue control: listing and taking away what waits.

use std::hint::black_box;

use taskyard_core::{Cursor, Select, Submit, Sweep, Target, Token};

use super::region::measured;
use super::rig::{PORT, Rig};

/// Tasks that are listed or taken away, if there are so many.
const TOUCHED_MAX: u32 = 100_000;
/// Tasks of a topic of which there are few.
const FEW: u32 = 1_000;
/// Places of one page.
const PAGE: u32 = 1_000;

/// Lists what is queued, a page at a time; per task.
pub(super) fn list(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 1);
    rig.fill_backlog(queued, 0);
    let mut listed = 0_u64;
    measured(&mut || {
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from
            && listed < u64::from(TOUCHED_MAX)
        {
            from = rig
                .scheduler
                .list(rig.now, Select::All, cursor, PAGE, |info| {
                    black_box(info);
                    listed += 1;
                });
        }
    });
    assert_eq!(listed, u64::from(queued.min(TOUCHED_MAX)), "each task once");
    listed
}

/// Takes away all that is queued; per task, its outcome included.
pub(super) fn sweep(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + 1);
    rig.fill_backlog(queued, 0);
    count_sweep(&mut rig, Select::All, queued)
}

/// Takes away the few tasks of one topic among `queued` others; per task, its outcome included.
pub(super) fn sweep_few(workers: u32, queued: u32) -> u64 {
    let mut rig = Rig::new(workers, queued + FEW);
    rig.fill_backlog(queued, 0);
    let topic = Target::Worker(rig.workers[0].0);
    for _ in 0..FEW {
        rig.submit(|task| Submit::new(task, topic));
    }
    rig.effects();
    count_sweep(&mut rig, Select::Topic(topic), FEW)
}

fn count_sweep(rig: &mut Rig, select: Select, touched: u32) -> u64 {
    let token = Token(1);
    measured(&mut || {
        let order = Sweep { select, token };
        assert!(rig.scheduler.handle_sweep(rig.now, PORT, order), "room");
        rig.effects();
        rig.replies();
    });
    assert_eq!(rig.swept, touched, "all that were meant");
    assert_eq!(rig.outcomes, u64::from(touched), "an outcome each");
    touched.into()
}
