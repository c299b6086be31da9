//! What people type: spans of time, workers, topics.

use std::str::FromStr;
use std::time::Duration;

use taskyard_core::WorkerId;
use taskyard_zmq::{TopicRef, WorkerRef};

/// Units of a span, the longest name of each first.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// A span of time as people write it: `500ms`, `10m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// In milliseconds; what no such number can say is as long as can be said.
    pub(crate) fn as_ms(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is no span of time: say 500ms, 30s, 10m, 2h, 1d or 1h30m");
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, behind) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let letters = behind.find(|c: char| c.is_ascii_digit());
            let (unit, behind) = behind.split_at(letters.unwrap_or(behind.len()));
            let (_, ms) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            let part = number.checked_mul(*ms);
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(wrong)?;
            rest = behind;
        }
        match text.is_empty() {
            true => Err(wrong()),
            false => Ok(Self(Duration::from_millis(total))),
        }
    }
}

/// A worker by its number or its name: what has digits only is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    Id(u32),
    Named(String),
}

impl Worker {
    pub(crate) fn as_ref(&self) -> WorkerRef<'_> {
        match self {
            Self::Id(id) => WorkerRef::Id(WorkerId(*id)),
            Self::Named(name) => WorkerRef::Named(name),
        }
    }
}

impl FromStr for Worker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 255 {
            return Err(format!(
                "a worker's name of {} bytes: it has at least 1 and at most 255",
                text.len()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Named(text.to_owned()));
        }
        let id = text.parse().map(Self::Id);
        id.map_err(|_| format!("'{text}' is no worker's number: it is too large"))
    }
}

/// A topic as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Any,
    All,
    Of(Worker),
}

impl Topic {
    pub(crate) fn as_ref(&self) -> TopicRef<'_> {
        match self {
            Self::Any => TopicRef::Any,
            Self::All => TopicRef::All,
            Self::Of(worker) => TopicRef::Worker(worker.as_ref()),
        }
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "any" => Self::Any,
            "all" => Self::All,
            worker => Self::Of(worker.parse()?),
        })
    }
}

/// A label: 1 to 63 bytes.
pub(crate) fn label(text: &str) -> Result<String, String> {
    match text.len() {
        1..=63 => Ok(text.to_owned()),
        len => Err(format!(
            "a label of {len} bytes: it has at least 1 and at most 63"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let ms = |text: &str| text.parse().map(|Span(span)| span.as_millis());
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("10m"), Ok(600_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("2d"), Ok(172_800_000));
        for wrong in [
            "",
            "10",
            "m",
            "1x",
            "-1s",
            "1.5h",
            "99999999999999999d",
            "1 h",
        ] {
            assert!(ms(wrong).unwrap_err().contains("say 500ms"), "{wrong}");
        }
    }

    #[test]
    fn digits_are_numbers_and_the_rest_are_names() {
        assert_eq!("7".parse(), Ok(Worker::Id(7)));
        assert_eq!("gpu-7".parse(), Ok(Worker::Named("gpu-7".into())));
        assert_eq!("all".parse(), Ok(Topic::All));
        assert_eq!("any".parse(), Ok(Topic::Any));
        assert_eq!("0".parse(), Ok(Topic::Of(Worker::Id(0))));
        let large = "99999999999".parse::<Worker>();
        assert!(large.unwrap_err().contains("too large"));
        assert!("".parse::<Topic>().unwrap_err().contains("of 0 bytes"));
        assert!(label("gpu").is_ok() && label("").is_err() && label(&"x".repeat(64)).is_err());
    }
}
