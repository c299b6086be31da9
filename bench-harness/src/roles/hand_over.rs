//! The floor of threads that sleep: two of them wake each other in turn, and nothing else.
//!
//! ```text
//!  client ── store, unpark ──▶ other thread, asleep on the other core
//!         ◀── store, unpark ──
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use super::inproc::pin;
use super::serve;
use crate::error::Error;
use crate::link::{Answer, Link};
use crate::messages::{Ready, Report};
use crate::options::Topic;

/// Tells the other thread to end.
const END: u64 = u64::MAX;

/// Measures until the parent has no more commands.
pub(super) fn run() -> Result<(), Error> {
    // Odd: a question, the task's number doubled and one more. Even: the answer to it.
    //
    // Ordering: each Release store pairs with the Acquire load of the other thread. The word alone
    // is handed over; a real hand-over publishes a task with it, so the floor pays for that too.
    let word = AtomicU64::new(0);
    let client = thread::current();
    thread::scope(|scope| {
        let other = scope.spawn(|| answer_all(&word, &client));
        pin(0);
        let link = HandOver {
            word: &word,
            other: other.thread().clone(),
            task: 0,
            open: false,
        };
        let served =
            serve::say(&Report::Ready(Ready::default())).and_then(|()| serve::serve_client(link));
        word.store(END, Ordering::Release);
        other.thread().unpark();
        served
    })
}

fn answer_all(word: &AtomicU64, client: &Thread) {
    pin(1);
    loop {
        match word.load(Ordering::Acquire) {
            END => return,
            question if question % 2 == 1 => {
                word.store(question + 1, Ordering::Release);
                client.unpark();
            }
            _ => thread::park(),
        }
    }
}

struct HandOver<'a> {
    word: &'a AtomicU64,
    other: Thread,
    task: u64,
    open: bool,
}

impl Link for HandOver<'_> {
    fn submit(&mut self, _: Topic) -> Result<u64, Error> {
        self.task += 1;
        self.open = true;
        self.word.store(self.task * 2 + 1, Ordering::Release);
        self.other.unpark();
        Ok(self.task)
    }

    fn poll(&mut self) -> Result<Option<Answer>, Error> {
        let answered = self.open && self.word.load(Ordering::Acquire) == self.task * 2 + 2;
        self.open &= !answered;
        let task = self.task;
        Ok(answered.then_some(Answer::Completed { task }))
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
        thread::park_timeout(timeout);
        Ok(())
    }
}
