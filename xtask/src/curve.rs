//! The transport's tests over a libzmq with CURVE, which ordinary builds lack: it takes libsodium.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::process::run;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// Those of `.cargo/config.toml`, and what turns CURVE on.
const CXXFLAGS: &str = "-DZMQ_HAVE_EVENTFD=1 -DZMQ_HAVE_EVENTFD_CLOEXEC=1 -DZMQ_BUILD_DRAFT_API=1 \
     -DZMQ_HAVE_CURVE=1 -DZMQ_USE_LIBSODIUM=1";

/// Builds into a folder of its own, and runs what has to do with connections.
///
/// # Errors
///
/// `Skipped` without libsodium to link, else `Failed` if a test fails, or the build has no CURVE
/// after all.
pub(crate) fn tests(workspace: &Workspace) -> Result<(), NotPassed> {
    if !has_libsodium(workspace) {
        return Err(NotPassed::skipped(
            "no libsodium to link (`apt install libsodium-dev`)",
        ));
    }
    let mut command = workspace.cargo(&["test", "--no-fail-fast", "-p", "taskyard-zmq", "--lib"]);
    command.args(["--test", "auth", "--test", "redirect"]);
    command
        .env("CARGO_TARGET_DIR", workspace.target.join("curve"))
        .env("CXXFLAGS", CXXFLAGS)
        .env("RUSTFLAGS", "-lsodium")
        // A build that lost its flags must not pass for one that has CURVE.
        .env("TASKYARD_MECHANISM", "curve");
    run(&mut command, workspace.limit())
}

/// Whether a program that needs it can be compiled and linked here.
fn has_libsodium(workspace: &Workspace) -> bool {
    let mut compiler = workspace.command("cc");
    compiler.args(["-x", "c", "-", "-lsodium", "-o", "/dev/null"]);
    compiles(
        &mut compiler,
        "#include <sodium.h>\nint main(void) { return sodium_init(); }\n",
    )
}

fn compiles(compiler: &mut Command, program: &str) -> bool {
    let quiet = compiler.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.stdin(Stdio::piped()).spawn() else {
        return false;
    };
    let told = child
        .stdin
        .take()
        .is_some_and(|mut stdin| stdin.write_all(program.as_bytes()).is_ok());
    child.wait().is_ok_and(|status| told && status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_does_not_link() {
        let link = |library: &str| {
            let mut compiler = Command::new("cc");
            compiler.args(["-x", "c", "-", library, "-o", "/dev/null"]);
            compiles(&mut compiler, "int main(void) { return 0; }\n")
        };
        assert!(!link("-lno-such-library-anywhere"));
        assert!(link("-lc"));
    }
}
