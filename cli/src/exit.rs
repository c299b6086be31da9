//! Exit codes: of every command, and what `submit` adds to those of the command that it runs.

/// A command came to nothing.
pub(crate) const FAILURE: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// The task was never accepted.
pub(crate) const REFUSED: u8 = 120;
/// The worker was lost, and with it the task.
pub(crate) const LOST: u8 = 121;
/// Somebody else cancelled the task.
pub(crate) const CANCELLED: u8 = 122;
/// At least one worker has not completed it (`--all`).
pub(crate) const SOME_FAILED: u8 = 123;
/// A deadline passed.
pub(crate) const TIMED_OUT: u8 = 124;
/// It could not be submitted, or what came back makes no sense.
pub(crate) const NOT_SUBMITTED: u8 = 125;

/// Nobody reads what it prints: as a command would end, by SIGPIPE.
pub(crate) const BROKEN_PIPE: u8 = 128 + 13;

/// All of them, for `taskyard submit --help`.
pub(crate) const SUBMIT_HELP: &str = "\
Exit codes:
  0..119, 126.. the command's own; 126: it cannot be run, 127: there is no such program,
                128 + N: it was ended by signal N
  2             the command line makes no sense (as of a command that says 2)
  120           refused: no such worker, or the controller is full
  121           its worker was lost, and it may not run again
  122           cancelled by somebody else
  123           --all: not all workers have completed it
  124           a deadline passed
  125           not submitted: no connection file, no controller, or no answer
  130, 143      cancelled here, by Ctrl-C or SIGTERM
  141           cancelled here: nobody reads what it prints any more";

/// For `taskyard --help`.
pub(crate) const HELP: &str = "\
Exit codes: 0 done, 1 it came to nothing, 2 the command line makes no sense; `submit` has its own.
The controller is found by --connect FILE, TASKYARD_CONNECT, or the newest file in the state folder
($XDG_RUNTIME_DIR/taskyard, or .taskyard).";
