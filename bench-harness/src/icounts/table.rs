//! `icounts.csv`: the counts that were agreed on, and the compiler that made them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use clap::ValueEnum;

use super::scenario::{Case, Scenario};

const HEADING: &str = "scenario,workers,queued,instructions_per_op";
const COMPILER: &str = "# ";

/// Instructions per operation of each case, and the compiler whose code was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) compiler: String,
    pub(super) counts: BTreeMap<Case, f64>,
}

impl Table {
    /// Reads a file; a line that is not understood is told.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| *line != HEADING) {
            if let Some(compiler) = line.strip_prefix(COMPILER) {
                compiler.clone_into(&mut table.compiler);
            } else {
                let (case, count) = parse_line(line).ok_or_else(|| format!("no count: {line}"))?;
                table.counts.insert(case, count);
            }
        }
        Ok(table)
    }

    /// What became dearer by more than the hundredth part, and what is not in the table.
    pub(super) fn regressions(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (case, count) in &now.counts {
            match self.counts.get(case) {
                Some(agreed) if *count <= agreed * 1.01 => {}
                Some(agreed) => found.push(format!(
                    "{} workers={} queued={}: {count:.1}, agreed are {agreed:.1}",
                    case.scenario.name(),
                    case.workers,
                    case.queued
                )),
                None => found.push(format!("{case:?} is not in the file")),
            }
        }
        found
    }

    /// For each scenario that has a matrix: its largest count over its smallest.
    pub(super) fn flatness(&self) -> Vec<(Scenario, f64)> {
        let mut ends = BTreeMap::<Scenario, (f64, f64)>::new();
        for (case, &count) in self.counts.iter().filter(|(c, _)| c.scenario.has_tables()) {
            let (min, max) = ends.entry(case.scenario).or_insert((count, count));
            *min = min.min(count);
            *max = max.max(count);
        }
        let ratio = |(scenario, (min, max)): (Scenario, (f64, f64))| (scenario, max / min);
        ends.into_iter().map(ratio).collect()
    }
}

fn parse_line(line: &str) -> Option<(Case, f64)> {
    let mut fields = line.split(',');
    let mut next = || fields.next();
    let scenario = Scenario::from_str(next()?, false).ok()?;
    let case = Case {
        scenario,
        workers: next()?.parse().ok()?,
        queued: next()?.parse().ok()?,
    };
    let count = next()?.parse().ok()?;
    fields.next().is_none().then_some((case, count))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{COMPILER}{}\n{HEADING}\n", self.compiler);
        for (case, count) in &self.counts {
            let name = case.scenario.name();
            writeln!(text, "{name},{},{},{count:.1}", case.workers, case.queued)?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: &[(u32, f64)]) -> Table {
        let case = |workers| Case {
            scenario: Scenario::Pool,
            workers,
            queued: 1_000,
        };
        Table {
            compiler: "rustc 1.2.3".into(),
            counts: counts.iter().map(|&(w, count)| (case(w), count)).collect(),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let table = table(&[(16, 1.5), (4_096, 300.0)]);
        assert_eq!(Table::parse(&table.to_string()), Ok(table));
        assert!(Table::parse("pool,16,1000").is_err());
        assert!(Table::parse("pool,16,1000,1.0,2.0").is_err());
        assert!(Table::parse("loop,16,1000,1.0").is_err());
    }

    #[test]
    fn one_percent_is_too_much_only_when_it_is_more() {
        let agreed = table(&[(16, 1_000.0)]);
        assert!(agreed.regressions(&table(&[(16, 1_010.0)])).is_empty());
        assert_eq!(agreed.regressions(&table(&[(16, 1_010.1)])).len(), 1);
        assert_eq!(agreed.regressions(&table(&[(32, 1.0)])).len(), 1, "new");
        assert!(agreed.regressions(&table(&[])).is_empty(), "a part is fine");
    }

    #[test]
    fn flatness_is_the_largest_over_the_smallest() {
        let flatness = table(&[(16, 100.0), (64, 150.0), (128, 120.0)]).flatness();
        assert_eq!(flatness, [(Scenario::Pool, 1.5)]);
    }
}
