//! What every process writes down, one line per fact and one `write` per line: it survives a
//! SIGKILL, and lines of different processes are put in order by a clock that all share.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock, the same in all processes.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Declares the kinds of lines: a word, then numbers.
macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($field:ident),* })*) => {
        /// One line of a journal.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Fact { $($(#[$doc])* $name { $($field: u64),* },)* }

        impl Fact {
            fn to_line(&self, time_ns: u64) -> String {
                match self {
                    $(Self::$name { $($field),* } => {
                        let mut line = format!("{} {time_ns}", $word);
                        $(line.push(' '); line.push_str(&$field.to_string());)*
                        line.push('\n');
                        line
                    })*
                }
            }

            fn from_line(line: &str) -> Option<(u64, Self)> {
                let (word, numbers) = line.split_once(' ')?;
                let mut numbers = numbers.split(' ').map(str::parse::<u64>);
                let mut next = || numbers.next()?.ok();
                let time_ns = next()?;
                match word {
                    $($word => Some((time_ns, Self::$name { $($field: next()?),* })),)*
                    _ => None,
                }
            }
        }
    };
}

facts! {
    /// The director: what this run is. First of all.
    Cast = "cast" { seed, workers, clients }
    /// The director: a fault of a kind hits its target now, for so long.
    Fault = "fault" { kind, target, length_ms }
    /// The director: that fault is over.
    Healed = "healed" { kind, target }
    /// The director: it woke up so much later than it wanted to. The machine has stood still.
    Hitch = "hitch" { late_ms }
    /// The director: the controller's memory and descriptors; `end` is 0 for the baseline, 1 for
    /// the end, 2 for what is only shown.
    Sample = "sample" { end, rss_bytes, descriptors }
    /// The director: the end is reached; each 1 if it is as it should be.
    Settled = "settled" { controller_alive, clients_quiet, workers_back }
    /// The director: a process ended that nobody told to; its role (0 controller, 1 client, 2
    /// worker), which one, and how.
    Ended = "ended" { role, number, status }
    /// The director: processes that were still there when all had been told to go.
    Left = "left" { processes }

    /// A worker has a place in the controller's table.
    Registered = "registered" { worker, place, epoch }
    /// A worker begins to run an attempt. Written before anything is done for it.
    Started = "started" { worker, client, task, boot, handle, attempt }
    /// A worker has reported an attempt.
    Reported = "reported" { worker, client, task, boot, handle, attempt }

    /// A client process begins, the n-th of its client.
    Begun = "begun" { client, incarnation }
    /// A client is about to submit a task; `again` is 1 in a later process than the first.
    Submitted = "submitted" { client, task, again }
    /// A client has asked for a task to be cancelled.
    CancelAsked = "cancel" { client, task }
    /// An outcome has come; see `AnswerCode` for `code`, and `Quality` for `right`. The last four
    /// are from the result's first line.
    Answered = "answered" {
        client, task, code, part, place, epoch, attempts, right, worker, boot, handle, attempt
    }
    /// A client was told that an attempt was lost, and that the task runs again.
    Noticed = "noticed" { client, task, attempt, place, epoch }
    /// A client has a session.
    Welcomed = "welcomed" { client, resumed }
    /// A client was told that it is not understood, or not wanted.
    Rejected = "rejected" { client, code }
    /// A client that submits nothing more has all its outcomes.
    Quiet = "quiet" { client }
    /// A client says goodbye now.
    Farewell = "farewell" { client }
}

/// A file that facts are appended to.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(file))
    }

    /// Writes a fact down, as of now, and says when that is.
    pub(crate) fn write(&mut self, fact: &Fact) -> io::Result<u64> {
        let time_ns = now_ns();
        self.0.write_all(fact.to_line(time_ns).as_bytes())?;
        Ok(time_ns)
    }
}

/// Reads one journal. A process may be killed in the middle of its last line; any other line that
/// makes no sense is an error.
pub(crate) fn read(path: &Path) -> io::Result<Vec<(u64, Fact)>> {
    let text = std::fs::read_to_string(path)?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = complete.lines().map(|line| {
        Fact::from_line(line).ok_or_else(|| {
            let message = format!("{}: no fact: {line}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    });
    lines.collect()
}

/// All journals of a folder, in the order of time.
pub(crate) fn read_all(folder: &Path) -> io::Result<Vec<(u64, Fact)>> {
    let mut facts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "journal") {
            facts.extend(read(&path)?);
        }
    }
    facts.sort_by_key(|&(time_ns, _)| time_ns);
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::Fact;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let fact = Fact::Submitted {
            client: 1,
            task: u64::MAX,
            again: 0,
        };
        let line = fact.to_line(77);
        assert_eq!(line, "submitted 77 1 18446744073709551615 0\n");
        assert_eq!(Fact::from_line(line.trim_end()), Some((77, fact)));
        assert_eq!(Fact::from_line("submitted 77 1 2"), None);
    }
}
