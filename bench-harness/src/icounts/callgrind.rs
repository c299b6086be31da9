//! One process per count, under callgrind, at addresses that are the same each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::region;
use super::scenario::Case;
use crate::error::Error;
use crate::host::{host, this_program};

/// The first argument of a process that is counted.
pub(crate) const CHILD: &str = "icounts-scenario";

/// A file of callgrind's, gone with this.
struct Profile(PathBuf);

impl Drop for Profile {
    fn drop(&mut self) {
        // Left over it does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

/// Instructions per operation of one case.
///
/// # Errors
/// Valgrind is not there or fails, or what it wrote is not understood.
pub(super) fn count(case: Case) -> Result<f64, Error> {
    let name = format!(
        "taskyard-icounts-{}-{}-{}-{}.out",
        std::process::id(),
        case.scenario.name(),
        case.workers,
        case.queued
    );
    let profile = Profile(std::env::temp_dir().join(name));
    let operations = run(case, &profile.0)?;
    let text = fs::read_to_string(&profile.0).map_err(Error::io("reading callgrind's profile"))?;
    let instructions = total_of(&text)
        .filter(|&instructions| instructions > 0)
        .ok_or_else(|| Error::System("callgrind has counted nothing".into()))?;
    Ok(instructions as f64 / operations as f64)
}

/// Runs the child; how many operations it says were counted.
fn run(case: Case, profile: &Path) -> Result<u64, Error> {
    let mut command = Command::new("setarch");
    command
        .args(["-R", "valgrind", "--tool=callgrind", "--quiet"])
        .arg("--collect-atstart=no")
        .arg(format!("--toggle-collect={}", region::PATTERN))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(this_program()?)
        .args(host().prefix)
        .args([CHILD, &case.scenario.name()])
        .args([case.workers, case.queued].map(|number| number.to_string()))
        // Nothing of the caller's surroundings may move the stack.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(Error::io("starting `setarch -R valgrind`"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let last = why.lines().last().unwrap_or("it said nothing");
        return Err(Error::System(format!(
            "{case:?} under valgrind: {}: {last}",
            output.status
        )));
    }
    let operations = said.trim().parse().ok().filter(|&count| count > 0);
    operations.ok_or_else(|| Error::System(format!("a scenario that says {said:?}")))
}

/// The instructions in a profile.
fn total_of(profile: &str) -> Option<u64> {
    let totals = |line: &str| line.strip_prefix("totals: ")?.trim().parse().ok();
    profile.lines().find_map(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let profile = "events: Ir\nsummary: 1\n\nfn=(1)\n0 12\n\ntotals: 1234\n";
        assert_eq!(total_of(profile), Some(1_234));
        assert_eq!(total_of("events: Ir\n"), None);
    }
}
