//! What a run of races leaves: a table on stdout and `contention.json`.

use std::fs;
use std::path::Path;

use serde::Serialize;
use taskyard_dispatcher::cores_available;

use super::race::Outcome;
use crate::error::Error;

/// Everything in the file.
#[derive(Serialize)]
struct File<'a> {
    cores: usize,
    /// `release` or `debug`: figures of the latter mean nothing.
    build: &'static str,
    races: &'a [Outcome],
}

const BUILD: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

pub(super) fn print_heading(rounds: usize) {
    println!(
        "{rounds} rounds, sides take turns; ratio: median of the rounds, ours / rival, and its \
         95 % interval; {BUILD} build, {} cores",
        cores_available()
    );
}

/// The drawing of a course, taken from the head of its source, and the names of the columns.
pub(super) fn print_subject(name: String, source: &str) {
    println!("\n{name}");
    drawing(source).for_each(|line| println!("  {line}"));
    println!(
        "{:<26} {:<15} {:>10} {:>10} {:>7} {:>15}  goal",
        "race", "rival", "ours ns", "rival ns", "ratio", "interval"
    );
}

/// The lines between the fences of a module's doc.
fn drawing(source: &str) -> impl Iterator<Item = &str> {
    let doc = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line));
    doc.skip_while(|line| *line != "```text")
        .skip(1)
        .take_while(|line| *line != "```")
}

pub(super) fn print_outcome(outcome: &Outcome) {
    let interval = format!("{:.3}..{:.3}", outcome.ratio.low, outcome.ratio.high);
    let goal = match (outcome.goal, outcome.is_met) {
        (Some(goal), Some(true)) => format!("<= {goal}: met"),
        (Some(goal), _) => format!("<= {goal}: missed"),
        (None, _) => String::new(),
    };
    println!(
        "{:<26} {:<15} {:>10.1} {:>10.1} {:>7.3} {interval:>15}  {goal}",
        outcome.race, outcome.rival, outcome.ours_ns, outcome.rival_ns, outcome.ratio.median
    );
}

/// # Errors
/// The folder or the file cannot be written.
pub(super) fn write(folder: &Path, races: &[Outcome]) -> Result<(), Error> {
    let path = folder.join("contention.json");
    let file = File {
        cores: cores_available(),
        build: BUILD,
        races,
    };
    let text = serde_json::to_string_pretty(&file).map_err(Error::system)?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| Error::Output { path, source })
}

#[cfg(test)]
mod tests {
    use super::drawing;

    #[test]
    fn the_drawing_is_what_stands_between_the_fences() {
        let source = "//! Title.\n//!\n//! ```text\n//!  a ──▶ b\n//! ```\n//! More.\n\nuse x;\n";
        assert_eq!(drawing(source).collect::<Vec<_>>(), [" a ──▶ b"]);
    }
}
