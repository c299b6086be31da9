//! Capacity: tasks per second with many outstanding, and what each allocates.

use super::{Setting, WARMUP};
use crate::error::Error;
use crate::lane::System;
use crate::measure::{Load, Trial};
use crate::options::Topic;
use crate::recorder::{Figure, Recorder};
use crate::stats::median;

/// What the first lane can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Tasks per second.
    pub(crate) rate: f64,
    /// Allocations of its dispatcher's process per task.
    pub(crate) allocations: f64,
}

/// Measures the capacity of all lanes; that of the first one comes back.
pub(crate) fn measure(
    setting: &mut Setting,
    topic: Topic,
    recorder: &mut Recorder,
) -> Result<Option<Capacity>, Error> {
    let outstanding = recorder.options().outstanding_of(setting.transport);
    // Long enough for a steady state between filling and draining.
    let millis = recorder.options().block_ms_of(setting.transport).max(30);
    let trial = Trial {
        load: Load::Closed { outstanding },
        topic,
        millis,
        warmup: WARMUP,
    };
    // Tables of the process reach their sizes once, and not in the blocks that count.
    let Some(first) = setting.lanes.first_mut() else {
        return Ok(None);
    };
    first.measure(&trial)?;
    let allocated = first.allocations()?;
    let measured = setting.measure(recorder, |system| system != System::Raw, |_| trial)?;
    let allocated = setting.lanes[0].allocations()? - allocated;
    recorder.add(&Figure {
        name: "capacity",
        floor_name: "floor_capacity",
        topic,
        transport: setting.transport,
        workers: setting.workers,
        outstanding,
        offered_rate: None,
        measured: &measured,
    })?;
    let first = &measured[0];
    let tasks = first.latencies().count() + u64::from(WARMUP) * first.blocks.len() as u64;
    let allocations = allocated as f64 / tasks.max(1) as f64;
    Ok(median(&first.rates()).map(|rate| Capacity { rate, allocations }))
}
