//! The one function inside which instructions are counted.

/// What `--toggle-collect` of callgrind matches: the function below, by its path.
pub(super) const PATTERN: &str = "*icounts::region::measured*";

/// Runs `body`, counted when this process runs under callgrind.
///
/// Not inlined, or there would be no such function to recognise; not generic, so that there is one
/// of it. A body must not call it again: callgrind toggles at every entry and exit.
#[inline(never)]
pub(super) fn measured(body: &mut dyn FnMut()) {
    body();
    // Without something to do after the call it could become a jump, and the exit be missed.
    std::hint::black_box(());
}
