//! I15: a port that has said that it takes nothing for a worker takes nothing, until it is told to.

use std::collections::HashMap;

use crate::sim::fact::{Fact, Post};

#[derive(Debug, Default)]
struct State {
    /// Orders to pause that were given, and answers to them.
    asked: u32,
    told: u32,
    is_wanted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Pauses {
    workers: HashMap<u32, State>,
}

impl Pauses {
    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Pause(post, paused) => {
                let state = self.state(post);
                state.asked += u32::from(paused);
                state.is_wanted = paused;
            }
            Fact::PauseTold(post) => self.state(post).told += 1,
            Fact::Popped { post, envelope, .. } => {
                let Some(state) = self.workers.get(&post.epoch.0) else {
                    return;
                };
                let is_paused = state.is_wanted && state.told == state.asked;
                assert!(
                    !is_paused,
                    "I15: {envelope:?} is taken for {post:?}, which is held"
                );
            }
            Fact::Drained(post) => drop(self.workers.remove(&post.epoch.0)),
            _ => {}
        }
    }

    fn state(&mut self, post: Post) -> &mut State {
        self.workers.entry(post.epoch.0).or_default()
    }
}
