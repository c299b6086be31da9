//! What a check concluded.

/// The end of one step, as the table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The check ran and found nothing.
    Passed,
    /// The check ran, or should have run, and something is wrong.
    Failed(String),
    /// The check did not run, for this reason. Never counted as passed.
    Skipped(String),
}

/// Why a step stopped before it passed; the error of every step, so that `?` ends one early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotPassed {
    /// Something is wrong.
    Failed(String),
    /// A tool is missing that a fresh machine need not have.
    Skipped(String),
}

impl NotPassed {
    /// A failure with this reason.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    /// A skip with this reason.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }
}

impl From<Result<(), NotPassed>> for Verdict {
    fn from(result: Result<(), NotPassed>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(NotPassed::Failed(reason)) => Self::Failed(reason),
            Err(NotPassed::Skipped(reason)) => Self::Skipped(reason),
        }
    }
}
