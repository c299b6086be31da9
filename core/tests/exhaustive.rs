//! All interleavings of a few events on two tasks and two workers, against the real scheduler.
//!
//! Events are what can happen outside the scheduler: a submit, a worker that takes, tells, reports
//! or is lost, one that comes back with or without its results, a cancel. After each one, the
//! driver polls until nothing is left to do, or not at all: so everything that is on its way meets
//! everything else, and each revoke is answered both ways. Every sequence is then brought to its
//! end and judged: one outcome per task, the truth about what has started, and nothing left over.

use std::thread;

#[path = "exhaustive/scene.rs"]
mod scene;
#[path = "scheduler/world/mod.rs"]
mod world;

use scene::{Event, Plan, Scene};

/// Events of the longest sequences: some seconds.
const DEPTH: usize = 7;
/// Events of the longest sequences in a long run: minutes.
const DEPTH_LONG: usize = 8;
/// Every order of the kinds of task.
const PLANS: [[Plan; 2]; 4] = [
    [Plan::Any { attempts: 2 }, Plan::Any { attempts: 1 }],
    [Plan::Any { attempts: 2 }, Plan::First],
    [Plan::First, Plan::Any { attempts: 1 }],
    [Plan::First, Plan::First],
];

/// An event, and whether the driver polls before the next one.
#[derive(Clone, Copy, Debug)]
struct Step {
    event: Event,
    polls: bool,
}

impl Step {
    /// Performs it; `false` if there was nothing to poll.
    fn run(self, scene: &mut Scene) -> bool {
        scene.happen(self.event);
        !self.polls || scene.poll()
    }
}

/// Shows the sequence that a check has failed on.
struct OnPanic<'a>([Plan; 2], &'a [Step]);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("plans: {:?}", self.0);
            for step in self.1 {
                eprintln!("  {step:?}");
            }
        }
    }
}

/// Explores all sequences of all plans up to so many events; how many there are.
fn explore(depth: usize) -> u32 {
    let explore_one = |plans| {
        let mut sequences = 0;
        extend(plans, &mut Vec::new(), depth, &mut sequences);
        sequences
    };
    let sequences: u32 = thread::scope(|scope| {
        let threads = PLANS.map(|plans| scope.spawn(move || explore_one(plans)));
        let counts = threads.map(|thread| thread.join().expect("a sequence has failed"));
        counts.iter().sum()
    });
    println!("{sequences} sequences of up to {depth} events");
    sequences
}

fn extend(plans: [Plan; 2], path: &mut Vec<Step>, depth: usize, sequences: &mut u32) {
    let Some(next) = judge(plans, path) else {
        return;
    };
    *sequences += 1;
    if path.len() == depth {
        return;
    }
    for event in next {
        for polls in [false, true] {
            path.push(Step { event, polls });
            extend(plans, path, depth, sequences);
            path.pop();
        }
    }
}

/// Performs a sequence and judges its end; the events that could have come next. Nothing if its
/// last poll had nothing to do: then it is the sequence without that poll.
fn judge(plans: [Plan; 2], path: &[Step]) -> Option<Vec<Event>> {
    let on_panic = OnPanic(plans, path);
    let mut scene = Scene::new(plans);
    if let Some((last, before)) = path.split_last() {
        scene.set_replay(true);
        for step in before {
            step.run(&mut scene);
        }
        scene.set_replay(false);
        if !last.run(&mut scene) {
            return None;
        }
    }
    let next = scene.possible();
    // The end is checked as a whole: its steps are the last ones of other sequences.
    scene.set_replay(true);
    scene.finish();
    drop(on_panic);
    Some(next)
}

#[test]
fn each_short_sequence_ends_well() {
    assert!(explore(DEPTH) > 2_500_000, "the search has become narrow");
}

#[test]
#[ignore = "takes minutes"]
fn each_longer_sequence_ends_well() {
    assert!(
        explore(DEPTH_LONG) > 15_000_000,
        "the search has become narrow"
    );
}

/// The judge is awake: a driver that runs what was revoked is found within the same sequences.
#[test]
#[should_panic(expected = "started")]
fn a_driver_that_runs_tombstones_is_found() {
    let mut scene = Scene::new([Plan::First, Plan::First]);
    scene.run_tombstones();
    for event in [Event::Submit, Event::Cancel(0), Event::TakeMail(0)] {
        scene.happen(event);
        scene.poll();
    }
    scene.finish();
}
