//! What the figures were measured on.

use std::fs;

use serde::{Deserialize, Serialize};
use taskyard_zmq::LibzmqFeatures;

/// The machine and the libzmq: a figure without them says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name for itself.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Name and release of the kernel.
    pub(crate) kernel: String,
    /// Main memory in MiB.
    pub(crate) memory_mib: u64,
    /// What the machine was doing before the run: its load average of the last minute.
    pub(crate) load_before: f64,
    /// Version of libzmq.
    pub(crate) libzmq: String,
    /// How it was built, as far as can be asked at run time.
    pub(crate) libzmq_flags: Vec<String>,
    /// The harness's own build: `release` or `debug`.
    pub(crate) build: String,
}

impl Machine {
    /// Asks the system; what cannot be had is `unknown`.
    pub(crate) fn detect(features: &LibzmqFeatures) -> Self {
        let (major, minor, patch) = features.version;
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")
                .map_or_else(unknown, |release| format!("Linux {release}")),
            memory_mib: kib("/proc/meminfo", "MemTotal").map_or(0, |kib| kib / 1024),
            load_before: read("/proc/loadavg")
                .and_then(first_number)
                .unwrap_or_default(),
            libzmq: format!("{major}.{minor}.{patch}"),
            libzmq_flags: flags(features),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .into(),
        }
    }
}

/// Bytes of main memory that a process holds, as the kernel counts them.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    kib(&format!("/proc/{pid}/status"), "VmRSS").map(|kib| kib * 1024)
}

/// What this libzmq has of what makes a difference.
fn flags(features: &LibzmqFeatures) -> Vec<String> {
    let LibzmqFeatures {
        router_notify,
        eventfd,
        ipc,
        curve,
        ..
    } = *features;
    [
        ("router-notify", router_notify),
        ("eventfd", eventfd),
        ("ipc", ipc),
        ("curve", curve),
    ]
    .into_iter()
    .filter(|(_, has)| *has)
    .map(|(name, _)| name.to_owned())
    .collect()
}

fn unknown() -> String {
    "unknown".into()
}

fn first_number(text: String) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The value of the first `name: value` line of such a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path)?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// A field that is given in KiB.
fn kib(path: &str, name: &str) -> Option<u64> {
    field(path, name)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_some_memory() {
        let resident = resident_bytes(std::process::id()).expect("procfs is there");
        assert!(resident > 100_000, "{resident} bytes");
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn the_machine_has_a_core_and_a_libzmq() {
        let features = LibzmqFeatures::probe().expect("a socket can be made");
        let machine = Machine::detect(&features);
        assert!(machine.cores >= 1);
        assert!(machine.libzmq_flags.contains(&"ipc".to_owned()));
        assert!(machine.libzmq.starts_with('4'), "{}", machine.libzmq);
    }
}
