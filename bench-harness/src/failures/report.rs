//! Tables on stdout, in Markdown, and the same rows as a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use taskyard_zmq::LibzmqFeatures;

use crate::error::Error;
use crate::machine::Machine;

/// On what, and how, in front of all tables.
pub(super) fn print_machine() -> Result<(), Error> {
    let features = LibzmqFeatures::probe().map_err(Error::system)?;
    let machine = Machine::detect(&features);
    println!(
        "{}, {} cores, {} MiB, {}; libzmq {} ({}); {} build; load before {}",
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.libzmq,
        machine.libzmq_flags.join(", "),
        machine.build,
        machine.load_before
    );
    Ok(())
}

/// Rows under the names of their columns.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// # Panics
    /// A row has one field for each column.
    pub(super) fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    pub(super) fn print(&self) {
        println!("| {} |", self.columns.join(" | "));
        println!("|{}", " --- |".repeat(self.columns.len()));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
    }

    /// Writes the rows into `failures-NAME.csv`.
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<(), Error> {
        let path = folder.join(format!("failures-{name}.csv"));
        let mut text = self.columns.join(",");
        text.push('\n');
        for row in &self.rows {
            text.push_str(&row.join(","));
            text.push('\n');
        }
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        written.map_err(|source| Error::Output { path, source })
    }
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Two digits behind the point.
pub(super) fn ms_text(duration: Duration) -> String {
    format!("{:.2}", ms(duration))
}

/// p50, p99 and the largest, in milliseconds.
pub(super) fn spread(samples: &mut [Duration]) -> [String; 3] {
    samples.sort_unstable();
    let at = |share: f64| {
        let rank = (share * samples.len() as f64).ceil() as usize;
        let sample = samples.get(rank.saturating_sub(1));
        sample.map_or_else(|| "-".to_owned(), |&sample| ms_text(sample))
    };
    [at(0.5), at(0.99), at(1.0)]
}

/// Whether a goal was met, in a word.
pub(super) const fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_made_of_samples() {
        let mut samples: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(spread(&mut samples), ["100.00", "198.00", "200.00"]);
        assert_eq!(spread(&mut samples[..1]), ["1.00", "1.00", "1.00"]);
        assert_eq!(spread(&mut []), ["-", "-", "-"]);
    }
}
