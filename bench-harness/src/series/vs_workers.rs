//! Latency against the number of workers: one task outstanding, round trip.

use super::{Setting, WARMUP};
use crate::error::Error;
use crate::lane::System;
use crate::measure::{Load, Trial};
use crate::options::Topic;
use crate::recorder::{Figure, Recorder};

/// Measures one count of the curve.
pub(crate) fn measure(
    setting: &mut Setting,
    topic: Topic,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    let millis = recorder.options().block_ms_of(setting.transport);
    let load = Load::Closed { outstanding: 1 };
    let trial = Trial {
        load,
        topic,
        millis,
        warmup: WARMUP,
    };
    // The raw forwarder knows no topics: once is enough.
    let takes = |system| system != System::Raw || topic == Topic::Any;
    let measured = setting.measure(recorder, takes, |_| trial)?;
    recorder.add(&Figure {
        name: "latency_vs_workers",
        floor_name: "floor_vs_workers",
        topic,
        transport: setting.transport,
        workers: setting.workers,
        outstanding: 1,
        offered_rate: None,
        measured: &measured,
    })
}
