//! The series of a run, and how all of them are measured: in blocks that take turns.

pub(crate) mod capacity;
pub(crate) mod inproc;
pub(crate) mod memory;
pub(crate) mod multicast;
pub(crate) mod vs_load;
pub(crate) mod vs_workers;

use crate::error::Error;
use crate::lane::{Lane, System};
use crate::measure::{Block, Trial};
use crate::options::{Options, Topic, Transport};
use crate::recorder::Recorder;
use crate::stats::Latencies;

/// Tasks before each block that are not timed.
const WARMUP: u32 = 8;

/// Lanes with equally many workers, side by side.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) transport: Transport,
    pub(crate) workers: u32,
    pub(crate) lanes: Vec<Lane>,
}

/// All blocks of one figure of one system, in order.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) system: System,
    pub(crate) blocks: Vec<Block>,
}

impl Measured {
    /// All blocks as one distribution.
    pub(crate) fn latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        self.blocks
            .iter()
            .for_each(|block| all.merge(&block.latencies));
        all
    }

    /// One quantile of each block.
    pub(crate) fn quantiles_us(&self, quantile: f64) -> Vec<f64> {
        self.blocks
            .iter()
            .map(|block| block.latencies.quantile_us(quantile))
            .collect()
    }

    /// The rate of each block.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.blocks.iter().map(Block::rate).collect()
    }
}

impl Setting {
    /// Measures one figure: block by block, each block once in every lane that `takes` part, in
    /// turn.
    fn measure(
        &mut self,
        recorder: &Recorder,
        takes: impl Fn(System) -> bool,
        trial: impl Fn(u32) -> Trial,
    ) -> Result<Vec<Measured>, Error> {
        let mut lanes: Vec<_> = self
            .lanes
            .iter_mut()
            .filter(|lane| takes(lane.system))
            .collect();
        let mut measured: Vec<_> = lanes
            .iter()
            .map(|lane| Measured {
                system: lane.system,
                blocks: Vec::new(),
            })
            .collect();
        for number in 0..recorder.options().blocks() {
            for (lane, measured) in lanes.iter_mut().zip(&mut measured) {
                let block = lane.measure(&trial(number))?;
                let is_bad = !block.faults.is_empty();
                measured.blocks.push(block);
                // Nothing after a lost task is worth the time.
                if is_bad {
                    return Ok(vec![measured.take()]);
                }
            }
        }
        Ok(measured)
    }
}

impl Measured {
    fn take(&mut self) -> Self {
        Self {
            system: self.system,
            blocks: std::mem::take(&mut self.blocks),
        }
    }
}

/// The topic of the load series: the first that a task can be sent to alone, if one was asked for.
pub(crate) fn load_topic(options: &Options) -> Option<Topic> {
    options
        .topics
        .iter()
        .copied()
        .find(|&topic| topic != Topic::All)
}
