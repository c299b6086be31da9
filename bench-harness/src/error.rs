//! What can go wrong, each in one line that says what to do.

use std::io;
use std::path::PathBuf;

/// Everything that ends a run early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The caller's: an option, or a combination of them, makes no sense.
    #[error("{0}")]
    Options(String),
    /// The machine's: the process may not open as many descriptors as the workers need.
    #[error(
        "{need} file descriptors are needed for {workers} workers and may not be had: raise the \
         limit with `ulimit -Hn {need}`, or ask for fewer --workers"
    )]
    Descriptors {
        /// How many a process will have open at most.
        need: u64,
        /// For how many workers.
        workers: u32,
    },
    /// The caller's: the folder for the results cannot be used.
    #[error("cannot write {}: {source}; choose another folder with --out", .path.display())]
    Output {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A child process said that it cannot go on.
    #[error("{role}: {message}")]
    Role {
        /// Which of the processes.
        role: String,
        /// In its own words.
        message: String,
    },
    /// A child process is gone, or does not speak.
    #[error("{role} {what}; its own message, if it left one, is above")]
    Child {
        /// Which of the processes.
        role: String,
        /// What it did instead of answering.
        what: String,
    },
    /// Ours, or the controller's: tasks without exactly one outcome.
    #[error("not every task had exactly one good outcome: {0}")]
    Faults(String),
    /// The system under test, through its own library.
    #[error("{0}")]
    System(String),
    /// The operating system's.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Any other library's error, in its own words and on one line.
    pub(crate) fn system(error: impl std::fmt::Display) -> Self {
        Self::System(error.to_string().replace('\n', " "))
    }
}
