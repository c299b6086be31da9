//! The program that the harness is part of: its children are started from the same one.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::Error;

/// How a program calls the harness.
///
/// ```
/// use bench_harness::Host;
/// assert_eq!(Host::OWN.name, "bench-harness");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// What a person types for it; messages begin with it.
    pub name: &'static str,
    /// What the program is given before the harness's own arguments.
    pub prefix: &'static [&'static str],
}

impl Host {
    /// The harness's own program.
    pub const OWN: Self = Self {
        name: "bench-harness",
        prefix: &[],
    };
}

static HOST: OnceLock<Host> = OnceLock::new();

/// Says which program this is; the first word counts.
pub(crate) fn set(host: Host) {
    HOST.get_or_init(|| host);
}

/// Which program this is.
pub(crate) fn host() -> Host {
    *HOST.get_or_init(|| Host::OWN)
}

/// What a person types for this part of it: `taskyard bench failures`.
pub(crate) fn name_of(part: &str) -> String {
    format!("{} {part}", host().name)
}

/// This very program; the host's prefix comes before the harness's arguments.
///
/// # Errors
/// The system does not say which it is.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::io("finding this program"))
}
