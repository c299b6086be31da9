//! The numbers that stand for outcomes, refusals, verdicts, targets and rejections on the wire.
//!
//! Each pair of functions here is the Rust form of one table of `docs/PROTOCOL.md`. A number that
//! this version does not know is never guessed at: it decodes to `None`.

use taskyard_core::{
    Deadline, Epoch, HelloRefusal, Outcome, Refusal, RegistrationRefusal, Stream, Verdict, WorkerId,
};

use crate::wire::{Flags, Header, WireError};

/// `code` of a [`Submit`](crate::wire::Kind::Submit): where a task may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `cluster.worker_any`.
    Any,
    /// `cluster.worker<N>`: `worker` is the number.
    Worker,
    /// By name: the name is a section.
    Named,
    /// `cluster.worker_all`.
    All,
    /// Whichever worker has a label: the name is the label.
    Label,
}

impl Topic {
    /// Its number.
    #[must_use]
    pub const fn to_code(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Worker => 1,
            Self::Named => 2,
            Self::All => 3,
            Self::Label => 4,
        }
    }

    /// The topic with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Any,
            1 => Self::Worker,
            2 => Self::Named,
            3 => Self::All,
            4 => Self::Label,
            _ => return None,
        })
    }
}

/// `code` of a [`Rejected`](crate::wire::Kind::Rejected): why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The message could not be understood.
    #[error("the controller could not understand the message")]
    Malformed,
    /// Another version than 1.
    #[error("the controller does not speak this protocol version")]
    Version,
    /// A kind that does not exist, or does not belong to this endpoint.
    #[error("the controller does not take this kind of message at this endpoint")]
    Kind,
    /// The controller has as many connections as it may.
    #[error("the controller has as many connections as it may")]
    PeersFull,
    /// The controller has as many clients as it may.
    #[error("the controller has as many clients as it may")]
    ClientsFull,
    /// A later session of this client is known.
    #[error("the controller knows a later session of this client")]
    SessionStale,
    /// Another process holds this worker's name.
    #[error("another process holds this worker's name")]
    NameTaken,
    /// A later registration of this worker is known.
    #[error("the controller knows a later registration of this worker")]
    RegistrationStale,
    /// The controller has as many workers as it may.
    #[error("the controller has as many workers as it may")]
    WorkersFull,
    /// Tasks and workers name as many different labels as there may be.
    #[error("tasks and workers name as many different labels as there may be")]
    LabelsFull,
    /// A reason that this version does not know.
    #[error("the controller gave reason {0}, which this version does not know")]
    Other(u8),
}

impl Rejection {
    /// Its number.
    #[must_use]
    pub const fn to_code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Version => 2,
            Self::Kind => 3,
            Self::PeersFull => 4,
            Self::ClientsFull => 16,
            Self::SessionStale => 17,
            Self::NameTaken => 32,
            Self::RegistrationStale => 33,
            Self::WorkersFull => 34,
            Self::LabelsFull => 35,
            Self::Other(code) => code,
        }
    }

    /// The rejection with this number.
    ///
    /// ```
    /// use taskyard_protocol::Rejection;
    /// assert_eq!(Rejection::from_code(32), Rejection::NameTaken);
    /// assert_eq!(Rejection::from_code(200), Rejection::Other(200));
    /// ```
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Malformed,
            2 => Self::Version,
            3 => Self::Kind,
            4 => Self::PeersFull,
            16 => Self::ClientsFull,
            17 => Self::SessionStale,
            32 => Self::NameTaken,
            33 => Self::RegistrationStale,
            34 => Self::WorkersFull,
            35 => Self::LabelsFull,
            other => Self::Other(other),
        }
    }
}

impl From<HelloRefusal> for Rejection {
    fn from(refusal: HelloRefusal) -> Self {
        match refusal {
            HelloRefusal::ClientsFull => Self::ClientsFull,
            HelloRefusal::SessionStale => Self::SessionStale,
            _ => Self::Other(0),
        }
    }
}

impl From<RegistrationRefusal> for Rejection {
    fn from(refusal: RegistrationRefusal) -> Self {
        match refusal {
            RegistrationRefusal::NameTaken => Self::NameTaken,
            RegistrationRefusal::Stale => Self::RegistrationStale,
            RegistrationRefusal::WorkersFull => Self::WorkersFull,
            RegistrationRefusal::LabelsFull => Self::LabelsFull,
            _ => Self::Other(0),
        }
    }
}

impl From<WireError> for Rejection {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Version(_) => Self::Version,
            WireError::Kind(_) => Self::Kind,
            _ => Self::Malformed,
        }
    }
}

/// `code` of a result: how an attempt ended.
#[must_use]
pub const fn verdict_to_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Completed => 0,
        Verdict::Failed => 1,
        Verdict::Aborted => 2,
    }
}

/// `code` of output, and of a notice that passes it on: where to.
#[must_use]
pub const fn stream_to_code(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

/// The stream with this number.
#[must_use]
pub const fn stream_from_code(code: u8) -> Option<Stream> {
    match code {
        1 => Some(Stream::Stdout),
        2 => Some(Stream::Stderr),
        _ => None,
    }
}

/// `code` of a hand-in that is none: the attempt still runs.
pub const STILL_RUNS: u8 = 3;

/// The verdict with this number.
#[must_use]
pub const fn verdict_from_code(code: u8) -> Option<Verdict> {
    Some(match code {
        0 => Verdict::Completed,
        1 => Verdict::Failed,
        2 => Verdict::Aborted,
        _ => return None,
    })
}

/// `extra` of a refused outcome; 0 for a reason that version 1 cannot name.
#[must_use]
pub const fn refusal_to_extra(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::TasksFull => 1,
        Refusal::QuotaFull => 2,
        Refusal::NoSuchWorker => 3,
        Refusal::NoSuchName => 4,
        Refusal::MulticastTooWide => 5,
        Refusal::NoSession => 6,
        Refusal::Malformed => 7,
        Refusal::PayloadTooLarge => 8,
        Refusal::BytesFull => 9,
        Refusal::LabelsFull => 10,
        _ => 0,
    }
}

/// The refusal with this number.
#[must_use]
pub const fn refusal_from_extra(extra: u16) -> Option<Refusal> {
    Some(match extra {
        1 => Refusal::TasksFull,
        2 => Refusal::QuotaFull,
        3 => Refusal::NoSuchWorker,
        4 => Refusal::NoSuchName,
        5 => Refusal::MulticastTooWide,
        6 => Refusal::NoSession,
        7 => Refusal::Malformed,
        8 => Refusal::PayloadTooLarge,
        9 => Refusal::BytesFull,
        10 => Refusal::LabelsFull,
        _ => return None,
    })
}

/// Writes an outcome, and the worker that ran it last, into the header of an outcome message.
/// `session` is the number of the session whose number it carries.
///
/// A summary has no worker: its two counts stand in those fields. The high half of `extra` is the
/// low byte of the session number. *The race to avoid:* a client may read what is left of a broken
/// connection after the welcome of the next one, and must not take that outcome's number for one of
/// the new session's.
pub fn write_outcome(
    header: &mut Header,
    outcome: Outcome,
    worker: Option<(WorkerId, Epoch)>,
    session: u32,
) {
    if let Some((worker, epoch)) = worker {
        header.flags = header.flags.with(Flags::HAS_WORKER);
        header.worker = worker.0;
        header.epoch = epoch.0;
    }
    (header.code, header.extra) = match outcome {
        Outcome::Completed => (0, 0),
        Outcome::Failed => (1, 0),
        Outcome::WorkerLost => (2, 0),
        Outcome::Cancelled { started } => (3, u16::from(started)),
        Outcome::TimedOut(Deadline::Start) => (4, 0),
        Outcome::TimedOut(Deadline::Finish) => (4, 1),
        Outcome::Refused(refusal) => (5, refusal_to_extra(refusal)),
        Outcome::Summary { parts, completed } => {
            header.worker = parts;
            header.epoch = completed;
            (6, 0)
        }
        // An outcome of a later core: version 1 has no word for it, and says that much.
        _ => (u8::MAX, 0),
    };
    header.extra |= u16::from(session_byte(session)) << 8;
}

/// What an outcome says of its session: the low byte of the number.
const fn session_byte(session: u32) -> u8 {
    session.to_le_bytes()[0]
}

/// Whether an outcome's number belongs to this session, and not to one shortly before it.
#[must_use]
pub const fn is_of_session(header: &Header, session: u32) -> bool {
    header.extra.to_le_bytes()[1] == session_byte(session)
}

/// The inverse of [`write_outcome`]; `None` for an outcome that this version does not know.
#[must_use]
pub fn read_outcome(header: &Header) -> Option<(Outcome, Option<(WorkerId, Epoch)>)> {
    let outcome = match (header.code, header.extra & 0xff) {
        (0, _) => Outcome::Completed,
        (1, _) => Outcome::Failed,
        (2, _) => Outcome::WorkerLost,
        (3, extra) => Outcome::Cancelled {
            started: extra & 1 == 1,
        },
        (4, 0) => Outcome::TimedOut(Deadline::Start),
        (4, 1) => Outcome::TimedOut(Deadline::Finish),
        (5, extra) => Outcome::Refused(refusal_from_extra(extra)?),
        (6, _) => {
            let summary = Outcome::Summary {
                parts: header.worker,
                completed: header.epoch,
            };
            return Some((summary, None));
        }
        _ => return None,
    };
    let worker = header
        .flags
        .has(Flags::HAS_WORKER)
        .then_some((WorkerId(header.worker), Epoch(header.epoch)));
    Some((outcome, worker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;

    #[test]
    fn each_outcome_survives_its_header() {
        let worker = Some((WorkerId(3), Epoch(9)));
        let refusals = (1..=10).map(|extra| Outcome::Refused(refusal_from_extra(extra).unwrap()));
        let others = [
            Outcome::Completed,
            Outcome::Failed,
            Outcome::WorkerLost,
            Outcome::Cancelled { started: false },
            Outcome::Cancelled { started: true },
            Outcome::TimedOut(Deadline::Start),
            Outcome::TimedOut(Deadline::Finish),
        ];
        for outcome in refusals.chain(others) {
            for worker in [None, worker] {
                let mut header = Header::new(Kind::Outcome);
                write_outcome(&mut header, outcome, worker, 0x1234);
                assert!(is_of_session(&header, 0x5634) && !is_of_session(&header, 0x1235));
                assert_eq!(read_outcome(&header), Some((outcome, worker)));
            }
        }
    }

    #[test]
    fn a_summary_has_counts_where_others_have_a_worker() {
        let mut header = Header::new(Kind::Outcome);
        let summary = Outcome::Summary {
            parts: 1024,
            completed: 1000,
        };
        write_outcome(&mut header, summary, None, 1);
        assert_eq!(read_outcome(&header), Some((summary, None)));
    }

    #[test]
    fn numbers_that_mean_nothing_are_not_guessed_at() {
        let mut header = Header::new(Kind::Outcome);
        for (code, extra) in [(4, 2), (5, 0), (5, 11), (7, 0), (255, 0)] {
            (header.code, header.extra) = (code, extra);
            assert_eq!(read_outcome(&header), None, "code {code}, extra {extra}");
        }
        assert_eq!(verdict_from_code(3), None);
        assert_eq!(Topic::from_code(5), None);
    }

    #[test]
    fn each_number_stands_for_one_thing() {
        for code in 0..=255 {
            assert_eq!(Rejection::from_code(code).to_code(), code);
            assert!(Topic::from_code(code).is_none_or(|topic| topic.to_code() == code));
            assert!(verdict_from_code(code).is_none_or(|verdict| verdict_to_code(verdict) == code));
            assert!(stream_from_code(code).is_none_or(|stream| stream_to_code(stream) == code));
        }
    }
}
