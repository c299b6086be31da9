//! Canaries: rules that the simulator breaks on purpose, to show that the checkers see it.

use super::options::names;

names! {
    /// A deliberate bug of the driver or of what it is told.
    Break {
        /// A report is taken for the attempt that is out now.
        SkipAttemptCheck = "skip_attempt_check",
        /// A result never reaches the scheduler.
        DropCompleted = "drop_completed",
        /// Credit returns at a cancel, and again with the tombstone.
        CreditAtCancel = "credit_at_cancel",
        /// An envelope goes into another worker's mailbox.
        WrongWorker = "wrong_worker",
        /// An outcome comes twice.
        DoubleOutcome = "double_outcome",
        /// Every revoke is said to have won.
        RevokeAlwaysWins = "revoke_always_wins",
        /// Whatever was cancelled is said never to have started.
        LieAboutStart = "lie_about_start",
        /// A tombstone's credit is lost.
        LoseCredit = "lose_credit",
        /// A claim from the pool is not told.
        LoseClaim = "lose_claim",
        /// A worker that is lost is not reported as such.
        LoseLoss = "lose_loss",
        /// What was sent is reported as never sent.
        ReturnStarted = "return_started",
        /// A port takes more than its workers have slots.
        OverfillSlots = "overfill_slots",
        /// Something is allocated where nothing may be.
        Allocate = "allocate",
        /// A worker gives back what it has started, and goes on with it.
        GiveBackStarted = "give_back_started",
        /// A worker's port is told to pause, and does not.
        IgnorePause = "ignore_pause",
    }
}

impl Break {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|broken| broken.name() == name)
    }

    /// How it must show: what the message of the failure begins with, any of these.
    #[must_use]
    pub const fn signs(self) -> &'static [&'static str] {
        match self {
            Self::SkipAttemptCheck => &["I3"],
            Self::DropCompleted | Self::LoseLoss => &["liveness"],
            Self::CreditAtCancel | Self::LoseCredit | Self::OverfillSlots => &["I6"],
            Self::WrongWorker => &["I5"],
            Self::DoubleOutcome => &["I1"],
            Self::RevokeAlwaysWins | Self::GiveBackStarted => &["I2", "I3", "I1"],
            Self::LieAboutStart => &["I4"],
            Self::LoseClaim => &["liveness", "I12"],
            // The claim table sees it before any checker.
            Self::ReturnStarted => &["I2", "the payload of slot"],
            Self::Allocate => &["I14"],
            Self::IgnorePause => &["I15"],
        }
    }
}
