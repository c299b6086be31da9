//! Where the workspace lies, and how a `cargo` of the same toolchain is started in it.

use std::env;
use std::ffi::OsStr;
use std::path::{self, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The workspace under test and the options that every step reads.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the top-level manifest; every command runs here.
    pub(crate) root: PathBuf,
    /// The target folder of ordinary builds.
    pub(crate) target: PathBuf,
    /// Whether to search wider and longer.
    pub(crate) long: bool,
}

impl Workspace {
    /// Finds the workspace that this program was built from.
    ///
    /// # Errors
    ///
    /// If that folder no longer holds a manifest (the program was moved to another machine).
    pub(crate) fn find(long: bool) -> Result<Self, String> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_path_buf();
        if !root.join("Cargo.toml").is_file() {
            return Err(format!(
                "no workspace at {}: run `cargo xtask`",
                root.display()
            ));
        }
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Relative to where the person stands, as it is for cargo.
            Some(target) => path::absolute(target).map_err(|e| format!("CARGO_TARGET_DIR: {e}"))?,
            None => root.join("target"),
        };
        Ok(Self { root, target, long })
    }

    /// A `cargo` command with these arguments, run at the root.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        // Under `cargo xtask` this variable names the very cargo that is running.
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = self.command(program);
        command.args(args);
        command
    }

    /// A command of any program, run at the root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// How long one command may take before it is taken for hung: far above what it needs.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(if self.long { 12 * 3600 } else { 20 * 60 })
    }
}
