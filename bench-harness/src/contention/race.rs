//! One race: laps of ours and of a rival in turn, and the ratio of their times.
//!
//! ```text
//!  round 1            round 2            round 3
//!  A  B  B  A         B  A  A  B         A  B  B  A   ...      A: ours, B: the rival
//! ```
//! A machine that becomes slower or faster over a round favours neither. The ratio of a round is
//! the time of ours over that of the rival, and the figure is the median of all rounds, with the
//! interval of `stats.rs` (order statistics).

use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::stats::{Interval, median, median_ratio};

/// Who runs laps: so many items, and how long they took. A lap that loses one is an error.
pub(super) struct Runner {
    name: &'static str,
    lap: Box<dyn FnMut(u64) -> Result<Duration, Error>>,
}

impl Runner {
    pub(super) fn new(
        name: &'static str,
        lap: impl FnMut(u64) -> Result<Duration, Error> + 'static,
    ) -> Self {
        Self {
            name,
            lap: Box::new(lap),
        }
    }

    fn ns_per_item(&mut self, items: u64) -> Result<f64, Error> {
        let took = (self.lap)(items)?;
        Ok(took.as_nanos() as f64 / items as f64)
    }
}

/// Ours, and those that it is compared with, over the same course.
pub(super) struct Race {
    pub(super) name: String,
    /// Items of a lap.
    pub(super) items: u64,
    pub(super) ours: Runner,
    pub(super) rivals: Vec<Rival>,
}

pub(super) struct Rival {
    pub(super) runner: Runner,
    /// The ratio that ours is meant to keep below.
    pub(super) goal: Option<f64>,
}

impl Rival {
    pub(super) fn new(
        name: &'static str,
        lap: impl FnMut(u64) -> Result<Duration, Error> + 'static,
    ) -> Self {
        Self {
            runner: Runner::new(name, lap),
            goal: None,
        }
    }

    pub(super) const fn with_goal(mut self, goal: Option<f64>) -> Self {
        self.goal = goal;
        self
    }
}

/// What came of ours against one rival.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) race: String,
    pub(super) rival: String,
    /// Items of a lap; there are two laps of each side in a round.
    pub(super) items: u64,
    pub(super) rounds: usize,
    /// The median of the rounds.
    pub(super) ours_ns: f64,
    pub(super) rival_ns: f64,
    pub(super) ratio: Interval,
    pub(super) goal: Option<f64>,
    /// Whether the upper end of the interval is within the goal.
    pub(super) is_met: Option<bool>,
}

impl Race {
    /// Races against each rival.
    ///
    /// # Errors
    /// A lap whose items do not add up.
    pub(super) fn run(mut self, rounds: usize) -> Result<Vec<Outcome>, Error> {
        let (name, items, ours) = (&self.name, self.items, &mut self.ours);
        self.rivals
            .iter_mut()
            .map(|rival| against(name, items, ours, rival, rounds))
            .collect()
    }
}

fn against(
    race: &str,
    items: u64,
    ours: &mut Runner,
    rival: &mut Rival,
    rounds: usize,
) -> Result<Outcome, Error> {
    // Not for the figure: code and memory are touched for the first time.
    ours.ns_per_item(items)?;
    rival.runner.ns_per_item(items)?;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (mut ours_ns, mut theirs_ns) = (0.0, 0.0);
        for turn in 0..4 {
            if is_our_turn(round, turn) {
                ours_ns += ours.ns_per_item(items)? / 2.0;
            } else {
                theirs_ns += rival.runner.ns_per_item(items)? / 2.0;
            }
        }
        our_times.push(ours_ns);
        their_times.push(theirs_ns);
    }
    let ratio = median_ratio(&our_times, &their_times)
        .ok_or_else(|| Error::Options("a race has at least one round".into()))?;
    Ok(Outcome {
        race: race.to_owned(),
        rival: rival.runner.name.to_owned(),
        items,
        rounds,
        ours_ns: median(&our_times).unwrap_or(f64::NAN),
        rival_ns: median(&their_times).unwrap_or(f64::NAN),
        ratio,
        goal: rival.goal,
        is_met: rival.goal.map(|goal| ratio.high <= goal),
    })
}

/// A B B A, and in every other round B A A B.
const fn is_our_turn(round: usize, turn: usize) -> bool {
    let is_outside = turn == 0 || turn == 3;
    is_outside == round.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn race_of(ours_ns: u64, theirs_ns: u64, goal: f64, rounds: usize) -> (Outcome, String) {
        let laps = Rc::new(RefCell::new(String::new()));
        let side = |letter, ns: u64| {
            let laps = laps.clone();
            move |items| {
                laps.borrow_mut().push(letter);
                Ok(Duration::from_nanos(ns * items))
            }
        };
        let race = Race {
            name: "test".into(),
            items: 10,
            ours: Runner::new("ours", side('A', ours_ns)),
            rivals: vec![Rival::new("rival", side('B', theirs_ns)).with_goal(Some(goal))],
        };
        let outcome = race.run(rounds).unwrap().remove(0);
        (outcome, laps.take())
    }

    #[test]
    fn sides_take_turns_after_one_lap_each_for_nothing() {
        assert_eq!(race_of(1, 1, 1.0, 2).1, "ABABBABAAB");
    }

    #[test]
    fn the_ratio_is_ours_over_theirs_and_its_upper_end_decides() {
        let (outcome, _) = race_of(21, 20, 1.05, 8);
        assert_eq!((outcome.ours_ns, outcome.rival_ns), (21.0, 20.0));
        assert!((outcome.ratio.high - 1.05).abs() < 1e-9);
        assert_eq!(race_of(22, 20, 1.05, 8).0.is_met, Some(false));
        assert_eq!(race_of(20, 20, 1.05, 8).0.is_met, Some(true));
    }

    #[test]
    fn a_lap_that_fails_ends_the_race() {
        let fail = |_| Err(Error::Faults("lost".into()));
        let race = Race {
            name: "test".into(),
            items: 1,
            ours: Runner::new("ours", |_| Ok(Duration::ZERO)),
            rivals: vec![Rival::new("rival", fail)],
        };
        assert!(race.run(1).is_err());
    }
}
