//! What the controller holds in main memory: with idle workers, and per queued task.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::Setting;
use crate::error::Error;
use crate::lane::{Lane, System};
use crate::machine::resident_bytes;
use crate::options::{Options, Transport};
use crate::recorder::Recorder;

/// Tasks that are queued to see what one costs, and bytes of payload that they have at most. A
/// quarter of them more is queued before, so that everything that is touched only once has been.
const QUEUED_MAX: u32 = 80_000;
const QUEUED_BYTES_MAX: u32 = 64 << 20;
/// Between two looks that must agree before the process counts as settled.
const SETTLE: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

/// Notes what the first lane's controller holds before anything is submitted.
pub(crate) fn note_idle(setting: &Setting, recorder: &mut Recorder) {
    let memory = recorder.memory_mut();
    let Some(lane) = setting
        .lanes
        .first()
        .filter(|_| memory.controller_idle_bytes.is_none())
    else {
        return;
    };
    memory.idle_workers = setting.workers;
    memory.controller_idle_bytes = settled_bytes(lane.controller_id());
}

/// Queues tasks in a controller without workers, and sees what each adds.
pub(crate) fn measure_queued(
    transport: Transport,
    options: &Options,
    folder: &Path,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    recorder.tell("memory of queued tasks");
    let systems = [System::Taskyard(options.mode)];
    let mut lanes = Lane::start_all(&systems, transport, 0, options, folder)?;
    let lane = &mut lanes[0];
    let queued = QUEUED_MAX.min(QUEUED_BYTES_MAX / options.payload);
    lane.queue(queued.div_ceil(4))?;
    let before = settled_bytes(lane.controller_id());
    lane.queue(queued)?;
    let after = settled_bytes(lane.controller_id());
    let memory = recorder.memory_mut();
    memory.queued_tasks = queued;
    memory.queued_payload_bytes = options.payload;
    memory.controller_bytes_per_queued_task = before
        .zip(after)
        .map(|(before, after)| after.saturating_sub(before) as f64 / f64::from(queued));
    recorder.step();
    Ok(())
}

/// Resident bytes once they no longer change.
fn settled_bytes(process: u32) -> Option<u64> {
    let mut last = resident_bytes(process)?;
    for _ in 0..LOOKS {
        thread::sleep(SETTLE);
        let now = resident_bytes(process)?;
        if now == last {
            break;
        }
        last = now;
    }
    Some(last)
}
