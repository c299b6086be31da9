//! What is told to whoever started this program, who may stop listening.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process;

/// What a shell answers for a program that a closed pipe has ended: 128 and the signal's number.
const PIPE_CLOSED: i32 = 128 + 13;

/// Prints a line, as `println!` does, but ends the program quietly when nobody reads it any more
/// (`cargo xtask test --list | head`).
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::print_line(format_args!($($part)*))
    };
}
pub(crate) use say;

/// See [`say!`].
///
/// # Panics
/// The line cannot be written for another reason than a closed pipe.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(PIPE_CLOSED),
        Err(error) => panic!("writing to the standard output: {error}"),
    }
}
