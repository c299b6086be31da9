//! A bar on a terminal, silence elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// How far the run is.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of so many steps; hidden as soon as either output is piped.
    pub(crate) fn new(steps: u64) -> Self {
        if !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:32} {pos:>3}/{len} {msg}")
            .expect("the template is a constant that the library understands");
        Self(ProgressBar::new(steps).with_style(style))
    }

    /// Says what is measured now.
    pub(crate) fn tell(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// One figure is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
