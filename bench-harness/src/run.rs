//! A whole run: every series in turn, then the files and the table.

use std::fs;
use std::io::Write;
use std::path::Path;

use taskyard_controller::Mode as ControllerMode;
use taskyard_dispatcher::cores_available;
use taskyard_zmq::{LibzmqFeatures, controller_descriptors, remote_descriptors};

use crate::error::Error;
use crate::lane::{Lane, System, WORKERS_PER_HOST};
use crate::machine::Machine;
use crate::options::{Mode, Options, Topic, Transport};
use crate::progress::Progress;
use crate::recorder::{Recorder, write};
use crate::report::report_html;
use crate::scratch::Scratch;
use crate::series::{
    Setting, capacity, inproc, load_topic, memory, multicast, vs_load, vs_workers,
};
use crate::summary::Summary;
use crate::table::table_text;

/// Measures everything that was asked for, and writes the results.
///
/// # Errors
/// Whatever keeps a figure from being measured; [`Error::Faults`] when a task had no outcome, or
/// two. The results are written then, too.
pub(crate) fn run(options: Options) -> Result<(), Error> {
    check_descriptors(&options)?;
    let out = options.out.clone();
    fs::create_dir_all(&out).map_err(|source| Error::Output {
        path: out.clone(),
        source,
    })?;
    if cores_available() < 2 {
        eprintln!(
            "{}: warning: with one core nothing is pinned, and every tail is long",
            crate::host::host().name
        );
    }
    let scratch = Scratch::new()?;
    let features = LibzmqFeatures::probe().map_err(Error::system)?;
    let summary = Summary::new(Machine::detect(&features), &options);
    let progress = Progress::new(steps(&options));
    let mut recorder = Recorder::new(summary, options.clone(), progress);
    let measured = measure_all(&options, scratch.path(), &mut recorder);
    let summary = recorder.finish();
    measured?;
    finish(&summary, &out, std::io::stdout())
}

fn measure_all(options: &Options, folder: &Path, recorder: &mut Recorder) -> Result<(), Error> {
    let with_sockets = options
        .transports
        .iter()
        .filter(|&&way| way != Transport::Inproc);
    let with_sockets: Vec<Transport> = with_sockets.copied().collect();
    for &transport in &with_sockets {
        for &workers in &options.workers {
            measure_setting(transport, workers, options, folder, recorder)?;
            if recorder.has_faults() {
                return Ok(());
            }
        }
    }
    if options.transports.contains(&Transport::Inproc) {
        inproc::measure(options, recorder)?;
    }
    match with_sockets.first() {
        Some(&first) if !recorder.has_faults() => {
            memory::measure_queued(first, options, folder, recorder)
        }
        _ => Ok(()),
    }
}

/// All series of one transport with so many workers, over one set of processes.
fn measure_setting(
    transport: Transport,
    workers: u32,
    options: &Options,
    folder: &Path,
    recorder: &mut Recorder,
) -> Result<(), Error> {
    recorder.tell(&format!("{workers} workers, {}", transport.label()));
    let lanes = Lane::start_all(&systems(options), transport, workers, options, folder)?;
    let mut setting = Setting {
        transport,
        workers,
        lanes,
    };
    if let Some(mode) = &setting.lanes[0].mode_picked {
        recorder.note_mode_picked(mode);
    }
    let is_last = workers == options.workers_max();
    if is_last {
        memory::note_idle(&setting, recorder);
    }
    for &topic in &options.topics {
        match topic {
            Topic::All => multicast::measure(&mut setting, recorder)?,
            Topic::Any | Topic::Worker => vs_workers::measure(&mut setting, topic, recorder)?,
        }
        if recorder.has_faults() {
            return Ok(());
        }
    }
    let Some(topic) = load_topic(options).filter(|_| is_last) else {
        return Ok(());
    };
    let measured = capacity::measure(&mut setting, topic, recorder)?;
    let Some(capacity) = measured.filter(|_| !recorder.has_faults()) else {
        return Ok(());
    };
    recorder.note_capacity(transport, capacity);
    vs_load::measure(&mut setting, topic, capacity.rate, recorder)
}

/// What runs side by side: first the mode that was asked for, with the floor right after it.
fn systems(options: &Options) -> Vec<System> {
    let mut systems = vec![System::Taskyard(options.mode)];
    if options.floor {
        systems.push(System::Floor);
    }
    if options.mode == Mode::Auto && !options.quick {
        systems.push(System::Taskyard(other_mode()));
    }
    if options.floor {
        systems.push(System::Raw);
    }
    systems
}

/// The mode that `auto` does not come to on this machine.
fn other_mode() -> Mode {
    match ControllerMode::Auto.resolve() {
        ControllerMode::Pinned => Mode::Hosted,
        _ => Mode::Pinned,
    }
}

/// Figures of the whole run.
fn steps(options: &Options) -> u64 {
    let load = if load_topic(options).is_some() {
        1 + vs_load::steps(options)
    } else {
        0
    };
    let setting = options.workers.len() * options.topics.len() + load;
    let per_transport = options.transports.iter().map(|&transport| match transport {
        Transport::Inproc => inproc::steps(options),
        Transport::ZmqTcp | Transport::ZmqIpc => setting,
    });
    per_transport.sum::<usize>() as u64 + 1
}

/// Says before the start what would else fail in the middle. Each child raises its own limit.
fn check_descriptors(options: &Options) -> Result<(), Error> {
    let workers = options.workers_max();
    let host = remote_descriptors(workers.min(WORKERS_PER_HOST));
    let need = controller_descriptors(workers).max(host);
    if options.transports == [Transport::Inproc] {
        return Ok(());
    }
    taskyard_zmq::raise_descriptor_limit(need).map_err(|_| Error::Descriptors { need, workers })
}

fn finish(summary: &Summary, out: &Path, mut shown: impl Write) -> Result<(), Error> {
    summary.write(&out.join("summary.json"))?;
    write(&out.join("report.html"), &report_html(summary))?;
    let text = format!("{}\nresults: {}\n", table_text(summary), out.display());
    // A reader who has seen enough closes the pipe: no failure of the run.
    let _ = shown.write_all(text.as_bytes());
    if summary.faults.is_empty() {
        return Ok(());
    }
    Err(Error::Faults(summary.faults.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn a_run_that_lost_a_task_fails_and_names_it_after_writing_everything() {
        let scratch = Scratch::new().expect("the temporary folder takes a folder");
        let (mut summary, mut shown) = (sample(), Vec::new());
        finish(&summary, scratch.path(), &mut shown).expect("a run without faults succeeds");

        summary.faults = vec!["task 7 got no outcome".into(), "task 9 got two".into()];
        let error =
            finish(&summary, scratch.path(), &mut shown).expect_err("a run with faults fails");
        let said = error.to_string();
        assert!(
            said.contains("task 7 ") && said.contains("task 9 "),
            "{said}"
        );
        let written = fs::read_to_string(scratch.path().join("summary.json"));
        let written: Summary =
            serde_json::from_str(&written.expect("there is a summary")).expect("it is JSON");
        assert_eq!(written.faults, summary.faults);
        assert_eq!(
            String::from_utf8_lossy(&shown).matches("results: ").count(),
            2
        );
    }
}
