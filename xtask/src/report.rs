//! The table at the end, and the one line that scripts read.

use std::fmt;
use std::time::Duration;

use crate::verdict::Verdict;

/// One step that was run: a row of the table.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) step: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) duration: Duration,
}

impl Line {
    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "FAILED",
            Verdict::Skipped(_) => "skipped",
        }
    }

    fn reason(&self) -> &str {
        match &self.verdict {
            Verdict::Passed => "",
            Verdict::Failed(reason) | Verdict::Skipped(reason) => reason,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = format!("{:.1}", self.duration.as_secs_f64());
        let row = format!(
            "{:<10} {:<8} {seconds:>8}  {}",
            self.step,
            self.word(),
            self.reason()
        );
        f.write_str(row.trim_end())
    }
}

/// All steps that were run, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Adds the next row.
    pub(crate) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Whether the whole run is to exit with an error.
    pub(crate) fn has_failure(&self) -> bool {
        self.count("FAILED") > 0
    }

    fn count(&self, word: &str) -> usize {
        self.lines.iter().filter(|line| line.word() == word).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10} {:<8} {:>8}", "step", "result", "seconds")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let [passed, failed, skipped] = ["passed", "FAILED", "skipped"].map(|w| self.count(w));
        writeln!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: impl IntoIterator<Item = (&'static str, Verdict)>) -> Report {
        let mut report = Report::default();
        for (step, verdict) in verdicts {
            report.push(Line {
                step,
                verdict,
                duration: Duration::from_millis(1_250),
            });
        }
        report
    }

    #[test]
    fn the_table_ends_in_one_plain_line() {
        let report = report([
            ("fmt", Verdict::Passed),
            ("tidy", Verdict::Failed("2 findings".into())),
            ("miri", Verdict::Skipped("no nightly".into())),
        ]);
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "step       result    seconds");
        assert_eq!(lines[1], "fmt        passed        1.2");
        assert_eq!(lines[2], "tidy       FAILED        1.2  2 findings");
        assert_eq!(lines[3], "miri       skipped       1.2  no nightly");
        assert_eq!(lines[4], "1 passed, 1 failed, 1 skipped");
        assert_eq!(lines.len(), 5);
        assert!(report.has_failure());
    }

    #[test]
    fn a_skipped_step_is_no_failure_and_no_pass() {
        let report = report([("deny", Verdict::Skipped("not installed".into()))]);
        assert!(!report.has_failure());
        assert!(
            report
                .to_string()
                .ends_with("0 passed, 0 failed, 1 skipped\n")
        );
    }
}
