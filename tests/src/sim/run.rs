//! One history from its options, and what is to be told about it.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::breakage::Break;
use super::marks::Marks;
use super::options::Options;
use super::world::World;
use crate::counting;

/// A history in which nothing was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Facts, inputs and outputs.
    pub events: u64,
    /// The number of everything that has happened: the same options give the same.
    pub hash: u64,
    /// The rare paths that it took.
    pub marks: Marks,
}

/// A history in which something was.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was broken; begins with the invariant's name, where a checker saw it.
    pub message: String,
    /// The last that was seen.
    pub last_facts: String,
    /// How many facts there were.
    pub events: u64,
}

impl Failure {
    /// What is broken, without how: two failures of one kind are likely the same bug.
    #[must_use]
    pub fn kind(&self) -> &str {
        // What `assert_eq` says first says nothing.
        let said = [
            "assertion `left == right` failed: ",
            "assertion `left != right` failed: ",
        ];
        let told = said.iter().find_map(|said| self.message.strip_prefix(said));
        let told = told.unwrap_or(&self.message);
        told.split([':', ',', '\n']).next().unwrap_or_default()
    }
}

thread_local! {
    /// Where and why this thread panicked while a history ran; `None`: print panics as ever.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs one history.
///
/// # Errors
/// When an invariant was broken, or the scheduler panicked.
pub fn run(
    options: &Options,
    broken: Option<Break>,
    prints: bool,
) -> Result<History, Box<Failure>> {
    keep_panics_quiet();
    let mut world = World::new(options, broken, prints);
    CAUGHT.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    counting::thaw();
    let message = CAUGHT.take().unwrap_or_default();
    let events = world.watch.events;
    match result {
        Ok(()) => Ok(History {
            events,
            hash: world.watch.hash(),
            marks: world.watch.marks.clone(),
        }),
        Err(_) => {
            let last_facts = world.watch.last_facts();
            // What is left may be in any state: its destructors are not to be trusted.
            std::mem::forget(world);
            Err(Box::new(Failure {
                message,
                last_facts,
                events,
            }))
        }
    }
}

/// Panics of a history are noted instead of printed.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            counting::thaw();
            let is_noted = CAUGHT.with_borrow_mut(|caught| {
                let Some(text) = caught else { return false };
                let message = info.payload_as_str().unwrap_or("a panic without words");
                let place = info
                    .location()
                    .map(|at| format!(" ({}:{})", at.file(), at.line()));
                *text = format!("{message}{}", place.unwrap_or_default());
                true
            });
            if !is_noted {
                before(info);
            }
        }));
    });
}
