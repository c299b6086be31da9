//! The same curves without sockets: client, dispatcher and workers in one process, on two threads.

use super::{Setting, capacity, multicast, vs_load, vs_workers};
use crate::error::Error;
use crate::lane::{Lane, System};
use crate::messages::Waiting;
use crate::options::{Options, Topic, Transport};
use crate::recorder::Recorder;

/// Figures that [`measure`] makes.
pub(crate) fn steps(options: &Options) -> usize {
    let curve = options.workers.len() * options.topics.len();
    let load = if super::load_topic(options).is_some() {
        1 + vs_load::steps(options)
    } else {
        0
    };
    2 * (curve + load)
}

/// Measures everything, with threads that spin and with threads that sleep.
pub(crate) fn measure(options: &Options, recorder: &mut Recorder) -> Result<(), Error> {
    for waiting in [Waiting::Spin, Waiting::Park] {
        for &workers in &options.workers {
            let mut lanes = vec![Lane::start_inproc(waiting, workers, options)?];
            if waiting == Waiting::Park && options.floor {
                lanes.push(Lane::start_hand_over()?);
            }
            let mut setting = Setting {
                transport: Transport::Inproc,
                workers,
                lanes,
            };
            measure_count(&mut setting, waiting, options, recorder)?;
            if recorder.has_faults() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn measure_count(
    setting: &mut Setting,
    waiting: Waiting,
    options: &Options,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    recorder.tell(&format!(
        "in-process, {} workers, {}",
        setting.workers,
        waiting.label()
    ));
    for &topic in &options.topics {
        match topic {
            Topic::All => {}
            Topic::Any | Topic::Worker => vs_workers::measure(setting, topic, recorder)?,
        }
        if recorder.has_faults() {
            return Ok(());
        }
    }
    // The floor knows one task at a time, and no workers.
    setting.lanes.retain(|lane| lane.system != System::Floor);
    if options.topics.contains(&Topic::All) {
        multicast::measure(setting, recorder)?;
    }
    let is_last = setting.workers == options.workers_max();
    let Some(topic) = super::load_topic(options).filter(|_| is_last) else {
        return Ok(());
    };
    let measured = capacity::measure(setting, topic, recorder)?;
    let Some(capacity) = measured.filter(|_| !recorder.has_faults()) else {
        return Ok(());
    };
    if waiting == Waiting::Spin {
        recorder.note_capacity(Transport::Inproc, capacity);
    }
    vs_load::measure(setting, topic, capacity.rate, recorder)
}
