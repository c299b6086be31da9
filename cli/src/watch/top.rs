//! `taskyard top`: the controller as it works, until somebody quits.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::feed::{Feed, News};
use super::{Change, Sample, screen};
use crate::connect::LinkArgs;
use crate::failure::Failure;
use crate::words::Span;

/// How soon a key, a signal or a sample is seen.
const BLINK: Duration = Duration::from_millis(50);

/// Rates that are kept for the curve.
const HISTORY: usize = 240;

/// How to look.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    link: LinkArgs,
    /// How often to look.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    every: Span,
}

/// What is on the screen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) endpoint: String,
    pub(super) sample: Option<Sample>,
    pub(super) change: Option<Change>,
    /// Completed tasks a second, the latest last.
    pub(super) completed: VecDeque<u64>,
    /// Since when the controller is silent, and what there is to say about it.
    pub(super) silence: Option<(Instant, String)>,
    /// The first worker that is shown.
    pub(super) first: usize,
}

/// Shows the controller until somebody quits.
///
/// # Errors
/// There is no terminal, or it fails.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "top needs a terminal: `taskyard status --json` is for scripts".into(),
        ));
    }
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(Failure::system("listening for signals"))?;
    }
    let every = args.every.0.max(Duration::from_millis(100));
    let feed = Feed::start(args.link.clone(), every)?;
    // From here on a panic restores the terminal before it is printed.
    let mut terminal = ratatui::try_init().map_err(Failure::system("preparing the terminal"))?;
    let shown = show(&mut terminal, &feed, &ended);
    ratatui::restore();
    shown.map_err(Failure::system("drawing"))
}

fn show(terminal: &mut DefaultTerminal, feed: &Feed, ended: &AtomicBool) -> io::Result<()> {
    let mut view = View::default();
    loop {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        loop {
            // Ordering: the flag is all that is handed over.
            if ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let news: Vec<_> = feed.news.try_iter().collect();
            let has_news = !news.is_empty();
            news.into_iter().for_each(|news| view.hear(news));
            let has_event = event::poll(if has_news { Duration::ZERO } else { BLINK })?;
            if has_event && view.handle(&event::read()?) {
                return Ok(());
            }
            // A silence is counted in seconds.
            if has_news || has_event || view.silence.is_some() {
                break;
            }
        }
    }
}

impl View {
    fn hear(&mut self, news: News) {
        match news {
            News::Silence(why) => {
                let since = self
                    .silence
                    .take()
                    .map_or_else(Instant::now, |(since, _)| since);
                self.silence = Some((since, why));
                self.change = None;
            }
            News::Sample(endpoint, sample) => {
                self.silence = None;
                self.endpoint = endpoint;
                self.change = self
                    .sample
                    .as_ref()
                    .map(|earlier| Change::between(earlier, &sample));
                if let Some(change) = &self.change {
                    // Rounded up: little is more than nothing.
                    self.completed
                        .push_back(change.rate(change.completed).ceil() as u64);
                    if self.completed.len() > HISTORY {
                        self.completed.pop_front();
                    }
                }
                self.sample = Some(*sample);
            }
        }
    }

    /// True for a key that quits.
    fn handle(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press | KeyEventKind::Repeat,
            ..
        }) = event
        else {
            return false;
        };
        let last = self
            .sample
            .as_ref()
            .map_or(0, |sample| sample.workers.len().saturating_sub(1));
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += 10,
            KeyCode::PageUp => self.first = self.first.saturating_sub(10),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
        self.first = self.first.min(last);
        false
    }
}
