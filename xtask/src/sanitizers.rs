//! Tests under the compiler's sanitizers, and the proof that these report what is there.
//!
//! Both need a nightly compiler and nothing else. The standard library stays as it is shipped,
//! uninstrumented: AddressSanitizer does not mind, and what ThreadSanitizer then reports of it by
//! mistake is named in `tsan-suppressions.txt`. Only code for the named target gets the flags, so
//! build scripts and procedural macros are built, and run, without.
//!
//! A sanitizer that was not linked, or told to overlook too much, reports nothing and passes. So
//! each step first runs tests with a fault put in on purpose, and fails unless that is reported:
//! for ThreadSanitizer an ordering of the production code that is weakened (`--cfg weakenable`),
//! for AddressSanitizer a value that is forgotten.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::output::say;
use crate::process::{self, Ended};
use crate::toolchain;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

const SUPPRESSIONS: &str = "xtask/tsan-suppressions.txt";

/// Orderings that ThreadSanitizer must find missing, one per side of each protocol, and the tests
/// that depend on it.
const RACES: [(&str, &str); 6] = [
    ("ring.publish", "ring::tests"),
    ("ring.reclaim", "ring::tests"),
    ("pool.publish", "pool::tests"),
    ("pool.reclaim", "pool::tests"),
    ("claim.win", "payload::tests"),
    ("claim.settle", "payload::tests"),
];

/// The crates' tests with AddressSanitizer and its search for leaks, libzmq's among them.
///
/// # Errors
///
/// `Skipped` without a nightly toolchain or the runtime, else `Failed` if anything is reported, or
/// the leak on purpose is not.
pub(crate) fn address(workspace: &Workspace) -> Result<(), NotPassed> {
    let build = Build {
        workspace,
        name: "asan",
        flags: "-Zsanitizer=address",
        host: toolchain::need_sanitizer(workspace, "asan")?,
    };
    let mut leak = build.test(&["-p", "taskyard-dispatcher", "--test", "sanitizers"]);
    leak.args(["--", "--ignored", "--exact", "a_value_is_forgotten"]);
    build.must_report(&mut leak, "a value that is forgotten", "LeakSanitizer")?;

    let whole = ["--lib", "--tests"];
    for (package, tests) in [
        // It has no unsafe code, and its searches of many states take minutes here.
        ("taskyard-core", ["--lib", "--test=fuzz"]),
        ("taskyard-dispatcher", whole),
        ("taskyard-protocol", whole),
        ("taskyard-zmq", ["--test=round_trip", "--test=faults"]),
    ] {
        let mut command = build.test(&["--no-fail-fast", "-p", package]);
        // Many threads at once are slow here, and show no more than few do.
        command.args(tests).args(["--", "--skip", "scale"]);
        process::run(&mut command, workspace.limit())?;
    }
    Ok(())
}

/// The dispatcher's tests with ThreadSanitizer: those of each lock-free file, and the stress tests
/// with real threads.
///
/// # Errors
///
/// `Skipped` without a nightly toolchain or the runtime, else `Failed` if a race is reported, or
/// one on purpose is not.
pub(crate) fn thread(workspace: &Workspace) -> Result<(), NotPassed> {
    let build = Build {
        workspace,
        name: "tsan",
        // Our code and an uninstrumented standard library do not count as one ABI; they are.
        flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg weakenable",
        host: toolchain::need_sanitizer(workspace, "tsan")?,
    };
    for (ordering, tests) in RACES {
        let mut command = build.test(&["-p", "taskyard-dispatcher", "--lib"]);
        command.args(["--", tests]).env("TASKYARD_WEAKEN", ordering);
        // At the first report: what comes after a race may be anything, also a hang.
        command.env("TSAN_OPTIONS", build.tsan_options(true));
        build.must_report(&mut command, ordering, "ThreadSanitizer: data race")?;
    }
    for tests in [&["--lib"] as &[&str], &["--test", "driving"]] {
        let mut command = build.test(&["-p", "taskyard-dispatcher"]);
        command.args(tests);
        if tests.len() > 1 {
            // One thread finds no race: the rest of that program has no other.
            command.args(["--", "stress", "frozen_thief", "shutdown"]);
        }
        command.env("TSAN_OPTIONS", build.tsan_options(false));
        process::run(&mut command, workspace.limit())?;
    }
    Ok(())
}

/// One sanitizer's build: flags and a target folder of its own.
struct Build<'a> {
    workspace: &'a Workspace,
    name: &'static str,
    flags: &'static str,
    host: String,
}

impl Build<'_> {
    /// A `cargo test` with these arguments.
    fn test(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command("cargo");
        command.args(["+nightly", "test", "--target", &self.host]);
        command.args(args).env("RUSTFLAGS", self.flags);
        command.env("CARGO_TARGET_DIR", self.target());
        command
    }

    fn target(&self) -> PathBuf {
        self.workspace.target.join(self.name)
    }

    fn tsan_options(&self, halt: bool) -> String {
        let suppressions = self.workspace.root.join(SUPPRESSIONS);
        format!(
            "exitcode=66 halt_on_error={} suppressions={}",
            u8::from(halt),
            suppressions.display()
        )
    }

    /// Runs tests with a fault put in, which the sanitizer must report in these words.
    fn must_report(
        &self,
        command: &mut Command,
        fault: &str,
        report: &str,
    ) -> Result<(), NotPassed> {
        let log = self.target().join(format!("canary.{fault}.log"));
        let failed = |error: std::io::Error| NotPassed::failed(format!("{fault}: {error}"));
        fs::create_dir_all(self.target()).map_err(failed)?;
        let out = File::create(&log).map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stderr(out.try_clone().map_err(failed)?)
            .stdout(out);
        let ended = process::status_within(command, self.workspace.limit()).map_err(failed)?;
        let text = fs::read(&log).map_err(failed)?;
        judge(&ended, &String::from_utf8_lossy(&text), report)
            .map_err(|reason| NotPassed::failed(format!("{fault} {reason}: {}", log.display())))?;
        say!("reported  {fault}");
        Ok(())
    }
}

/// Whether a run with a fault in it was caught by the sanitizer itself: a test that failed for
/// another reason proves nothing.
fn judge(ended: &Ended, log: &str, report: &str) -> Result<(), &'static str> {
    match ended {
        Ended::Killed => Err("gave no verdict"),
        Ended::Itself(_) if !log.contains("running ") => Err("did not run"),
        Ended::Itself(status) if status.success() => Err("was not reported"),
        Ended::Itself(_) if !log.contains(report) => Err("failed without a report"),
        Ended::Itself(_) => Ok(()),
    }
}

/// The suppressions that tell nobody why: for the test of that file.
#[cfg(test)]
fn unexplained(list: &str) -> Vec<&str> {
    let mut explained = false;
    let mut found = Vec::new();
    for line in list.lines() {
        match line.trim() {
            "" => explained = false,
            comment if comment.starts_with('#') => explained = true,
            suppression if !explained => found.push(suppression),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_fault_counts_only_if_the_sanitizer_names_it() {
        let ended = |code: i32| Ended::Itself(ExitStatus::from_raw(code << 8));
        let race = "running 1 test\nWARNING: ThreadSanitizer: data race (pid=1)\n";
        let report = "ThreadSanitizer: data race";
        assert_eq!(judge(&ended(66), race, report), Ok(()));
        assert_eq!(
            judge(&ended(0), "running 1 test\nok\n", report),
            Err("was not reported")
        );
        assert!(judge(&ended(101), "running 1 test\npanicked\n", report).is_err());
        assert!(judge(&ended(101), "error[E0433]\n", report).is_err());
        assert!(judge(&Ended::Killed, race, report).is_err());
    }

    #[test]
    fn every_suppression_is_explained() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tsan-suppressions.txt");
        let list = fs::read_to_string(file).unwrap();
        assert!(unexplained(&list).is_empty(), "{:?}", unexplained(&list));
        let ours = list.lines().filter(|line| line.contains("taskyard"));
        assert!(
            ours.clone().all(|line| line.ends_with("_place")),
            "only what holds a lock of the standard library is excused: {ours:?}"
        );
        assert_eq!(unexplained("# why\nrace:a\nrace:b\n\nrace:c\n"), ["race:c"]);
    }
}
