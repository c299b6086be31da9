//! What packages and people install beside the program: completions and the manual.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;
use crate::failure::Failure;

/// Prints a shell's completions.
///
/// # Errors
/// They cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "taskyard", &mut script);
    io::stdout().write_all(&script).map_err(Failure::Output)
}

/// Writes a page for the program and one for each of its commands.
///
/// # Errors
/// The folder cannot be written to.
pub(crate) fn manual(folder: &Path) -> Result<(), Failure> {
    let written =
        fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(Failure::system(folder.display().to_string()))
}
