//! What the machine has beyond stable Rust; a step that needs more asks here and is skipped.

use std::path::Path;

use crate::process;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// Asks for a cargo subcommand that is installed separately.
///
/// # Errors
///
/// `Skipped` if it is not installed.
pub(crate) fn need_subcommand(workspace: &Workspace, name: &str) -> Result<(), NotPassed> {
    if has_subcommand(workspace, name) {
        return Ok(());
    }
    let reason = format!("cargo-{name} is not installed (`cargo install --locked cargo-{name}`)");
    Err(NotPassed::Skipped(reason))
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_subcommand(workspace: &Workspace, name: &str) -> bool {
    process::succeeds(&mut workspace.cargo(&[name, "--version"]))
}

/// Asks for Miri on a nightly toolchain.
///
/// # Errors
///
/// `Skipped` if there is no nightly toolchain, or none with Miri.
pub(crate) fn need_miri(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut version = workspace.command("cargo");
    if process::succeeds(version.args(["+nightly", "miri", "--version"])) {
        return Ok(());
    }
    let reason = "no nightly with Miri (`rustup toolchain install nightly -c miri,rust-src`)";
    Err(NotPassed::skipped(reason))
}

/// Asks for a nightly toolchain with the runtime of a sanitizer, `asan` or `tsan`, and answers the
/// host's target triple.
///
/// # Errors
///
/// `Skipped` if there is no nightly toolchain, or none with that runtime.
pub(crate) fn need_sanitizer(workspace: &Workspace, runtime: &str) -> Result<String, NotPassed> {
    let rustc = |args: &[&str]| {
        process::stdout_of(workspace.command("rustc").arg("+nightly").args(args))
            .ok_or_else(|| NotPassed::skipped("no nightly toolchain"))
    };
    let version = rustc(&["-vV"])?;
    let host = host_in_version(&version)
        .ok_or_else(|| NotPassed::skipped("`rustc +nightly -vV` names no host"))?;
    let sysroot = rustc(&["--print", "sysroot"])?;
    let library = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host)
        .join(format!("lib/librustc-nightly_rt.{runtime}.a"));
    if !library.is_file() {
        let reason = format!("nightly has no runtime of {runtime} for {host}");
        return Err(NotPassed::skipped(reason));
    }
    Ok(host.to_owned())
}

fn host_in_version(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_the_version() {
        let version = "rustc 1.97.0-nightly\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(host_in_version(version), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host_in_version("rustc 1.97.0"), None);
    }

    #[test]
    fn a_missing_subcommand_is_skipped_with_the_way_to_get_it() {
        let workspace = Workspace::find(false).unwrap();
        let Err(NotPassed::Skipped(reason)) = need_subcommand(&workspace, "no-such-thing") else {
            panic!("found a subcommand that does not exist")
        };
        assert!(reason.contains("cargo install --locked cargo-no-such-thing"));
    }
}
