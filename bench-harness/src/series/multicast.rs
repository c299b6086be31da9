//! Multicast: one submit to all workers, timed to the last worker's answer.

use super::{Setting, WARMUP};
use crate::error::Error;
use crate::lane::System;
use crate::measure::{Load, Trial};
use crate::options::Topic;
use crate::recorder::{Figure, Recorder};

/// Measures one count of the curve.
pub(crate) fn measure(setting: &mut Setting, recorder: &mut Recorder) -> Result<(), Error> {
    let workers = setting.workers;
    let trial = Trial {
        load: Load::Multicast { workers },
        topic: Topic::All,
        millis: recorder.options().block_ms_of(setting.transport),
        // One to many workers wakes as many sockets as a thousand to one.
        warmup: WARMUP.div_ceil(workers),
    };
    let measured = setting.measure(recorder, |system| system != System::Raw, |_| trial)?;
    recorder.add(&Figure {
        name: "multicast",
        floor_name: "floor_multicast",
        topic: Topic::All,
        transport: setting.transport,
        workers,
        outstanding: 1,
        offered_rate: None,
        measured: &measured,
    })
}
