//! What a command prints, passed on while it runs; and in the end exactly what has not been.
//!
//! What comes early may have holes: whoever passes it on drops what is too much. From the first
//! hole on nothing more is passed on, and the result, which is whole, brings the rest. What the
//! controller drops it counts for a client, not for a worker: then the hole may be anybody's.

use std::collections::HashMap;
use std::io::{self, Write};

use taskyard_core::Stream;

use crate::payload::OUTPUT_MAX;
use crate::print;

/// One piece of output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) stream: Stream,
    pub(super) attempt: u8,
    /// Whether something before it, of whatever stream, is missing.
    pub(super) has_hole: bool,
    /// Whether something of whatever worker is missing.
    pub(super) has_anybodys_hole: bool,
    pub(super) bytes: &'a [u8],
}

/// What has been passed on of one worker's attempt.
#[derive(Debug, Default)]
struct Passed {
    attempt: u8,
    stopped: bool,
    /// All that came without a hole, of standard output and standard error.
    came: [Vec<u8>; 2],
    /// How much of it was printed: whole lines, where lines are marked.
    printed: [usize; 2],
}

/// Prints what workers print.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Each line begins with whose it is.
    marked: bool,
    /// There is a hole, and nobody knows in whose.
    stopped: bool,
    workers: HashMap<String, Passed>,
}

const fn index_of(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Live {
    /// With marked lines, or as it comes.
    pub(super) fn new(marked: bool) -> Self {
        Self {
            marked,
            ..Self::default()
        }
    }

    /// Passes a piece on, or remembers that there is a hole.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn pass(&mut self, worker: &str, piece: Piece<'_>) -> io::Result<()> {
        let marked = self.marked;
        let passed = self.workers.entry(worker.to_owned()).or_default();
        if passed.attempt != piece.attempt {
            *passed = Passed {
                attempt: piece.attempt,
                ..Passed::default()
            };
        }
        let index = index_of(piece.stream);
        // Without marks there is one worker at a time, and what is missing is its.
        self.stopped |= piece.has_anybodys_hole && marked;
        passed.stopped |= piece.has_hole || piece.has_anybodys_hole || self.stopped;
        passed.stopped |= passed.came[index].len() + piece.bytes.len() > OUTPUT_MAX;
        if passed.stopped {
            return Ok(());
        }
        passed.came[index].extend(piece.bytes);
        let new = &passed.came[index][passed.printed[index]..];
        let whole = match marked {
            false => new.len(),
            true => new
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |last| last + 1),
        };
        write(piece.stream, marked.then_some(worker), &new[..whole])?;
        passed.printed[index] += whole;
        Ok(())
    }

    /// Prints what is left of a result.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn rest(
        &mut self,
        worker: Option<&str>,
        attempt: u8,
        [stdout, stderr]: [&[u8]; 2],
    ) -> io::Result<()> {
        let passed = worker.and_then(|worker| self.workers.remove(worker));
        let passed = passed.filter(|passed| passed.attempt == attempt);
        for (stream, whole) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let index = index_of(stream);
            // What was passed on as it came is how the result begins, or it is another's.
            let printed =
                passed
                    .as_ref()
                    .map_or(0, |passed| match whole.starts_with(&passed.came[index]) {
                        true => passed.printed[index],
                        false => 0,
                    });
            write(stream, worker.filter(|_| self.marked), &whole[printed..])?;
        }
        Ok(())
    }
}

fn write(stream: Stream, mark: Option<&str>, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => write_to(&mut io::stdout().lock(), mark, bytes),
        Stream::Stderr => write_to(&mut io::stderr().lock(), mark, bytes),
    }
}

fn write_to(out: &mut impl Write, mark: Option<&str>, bytes: &[u8]) -> io::Result<()> {
    match mark {
        None => out.write_all(bytes)?,
        Some(mark) => {
            let mark = print::shown(mark);
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                write!(out, "{mark}: ")?;
                out.write_all(line)?;
                if !line.ends_with(b"\n") {
                    out.write_all(b"\n")?;
                }
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_whose_it_is() {
        let mut out = Vec::new();
        write_to(&mut out, Some("w"), b"a\nb").unwrap();
        write_to(&mut out, Some("w\x1b"), b"b").unwrap();
        write_to(&mut out, None, b"c").unwrap();
        assert_eq!(out, b"w: a\nw: b\nw\\u{1b}: b\nc");
    }

    #[test]
    fn nothing_is_passed_on_behind_a_hole() {
        let mut live = Live::default();
        let piece = |bytes, has_hole| Piece {
            stream: Stream::Stdout,
            attempt: 1,
            has_hole,
            has_anybodys_hole: false,
            bytes,
        };
        live.pass("w", piece(b"", false)).unwrap();
        live.pass("w", piece(b"", true)).unwrap();
        live.pass("w", piece(b"behind", false)).unwrap();
        assert!(live.workers["w"].came[0].is_empty());
        let next = Piece {
            attempt: 2,
            ..piece(b"", false)
        };
        live.pass("w", next).unwrap();
        assert!(!live.workers["w"].stopped);
    }

    #[test]
    fn a_hole_that_may_be_anybodys_stops_all() {
        let mut live = Live::new(true);
        let piece = |has_anybodys_hole| Piece {
            stream: Stream::Stdout,
            attempt: 1,
            has_hole: false,
            has_anybodys_hole,
            bytes: b"",
        };
        let stopped = |live: &mut Live, worker, has_anybodys_hole| {
            live.pass(worker, piece(has_anybodys_hole)).unwrap();
            live.workers[worker].stopped
        };
        assert!(!stopped(&mut live, "a", false));
        assert!(stopped(&mut live, "b", true));
        assert!(stopped(&mut live, "a", false), "it may have been a's");
        assert!(
            stopped(&mut live, "c", false),
            "or that of one not yet seen"
        );
    }
}
