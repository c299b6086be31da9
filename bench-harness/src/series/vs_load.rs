//! Latency against load: Poisson arrivals at shares of the capacity, timed from when they were due.

use super::{Setting, WARMUP};
use crate::error::Error;
use crate::lane::System;
use crate::measure::{Load, Trial};
use crate::options::{Options, Topic};
use crate::recorder::{Figure, Recorder};

const SHARES: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
const SHARES_QUICK: [f64; 2] = [0.5, 0.9];

/// How many loads a run with these options offers.
pub(crate) fn steps(options: &Options) -> usize {
    // How many there are does not depend on the capacity that is not known yet.
    rates(options, 1.0).len()
}

/// Measures the whole curve.
pub(crate) fn measure(
    setting: &mut Setting,
    topic: Topic,
    capacity: f64,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    for rate in rates(recorder.options(), capacity) {
        recorder.tell(&format!("{rate:.0} tasks/s, {}", setting.transport.label()));
        measure_rate(setting, topic, rate, recorder)?;
    }
    Ok(())
}

fn rates(options: &Options, capacity: f64) -> Vec<f64> {
    let shares: &[f64] = match (options.rates.is_empty(), options.quick) {
        (false, _) => return options.rates.clone(),
        (true, true) => &SHARES_QUICK,
        (true, false) => &SHARES,
    };
    shares
        .iter()
        .map(|share| (share * capacity).max(1.0).round())
        .collect()
}

fn measure_rate(
    setting: &mut Setting,
    topic: Topic,
    rate: f64,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    let millis = recorder.options().block_ms_of(setting.transport);
    // The mode that was asked for, and the floor: the other mode is beside it in the other curves.
    let first = setting.lanes.first().map(|lane| lane.system);
    let measured = setting.measure(
        recorder,
        |system| Some(system) == first || system == System::Floor,
        |number| {
            let load = Load::Open {
                rate,
                seed: u64::from(number),
            };
            Trial {
                load,
                topic,
                millis,
                warmup: WARMUP,
            }
        },
    )?;
    recorder.add(&Figure {
        name: "latency_vs_load",
        floor_name: "floor_vs_load",
        topic,
        transport: setting.transport,
        workers: setting.workers,
        outstanding: 0,
        offered_rate: Some(rate),
        measured: &measured,
    })
}
