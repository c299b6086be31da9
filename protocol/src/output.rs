//! How much output may be on its way to a peer: as much as keeps a connection busy, and no more, so
//! that what comes behind it does not wait long, and a peer that does not read costs little.
//!
//! Output is never acknowledged. So its sender asks *are you there?* now and then, behind a part of
//! what it has sent: with the answer, that part has been read. The number of the question is
//! random, so that whoever does not read cannot answer.
//!
//! ```text
//!  ──▶ since ──Ping──▶ before ──Pong──▶ read
//! ```

use taskyard_dispatcher::random_u64;

/// The largest piece of output, in bytes.
pub const OUTPUT_MAX: usize = 64 << 10;

/// Every piece counts as at least so many bytes: a window is a number of messages, too.
const PIECE_MIN: usize = 4 << 10;

/// The most bytes of output that may be on their way to a client.
pub const OUTPUT_BYTES_MAX: usize = OutputWindow::CLIENT;

/// The most pieces.
pub const OUTPUT_PIECES_MAX: usize = OUTPUT_BYTES_MAX / PIECE_MIN;

/// What may be on its way.
#[derive(Debug)]
pub(crate) struct OutputWindow {
    bytes_max: usize,
    /// Sent before the question that is open, and since.
    before: usize,
    since: usize,
    /// The number of the open question.
    question: Option<u64>,
}

impl Default for OutputWindow {
    fn default() -> Self {
        Self::new(Self::CLIENT)
    }
}

impl OutputWindow {
    /// Towards a client.
    pub(crate) const CLIENT: usize = 1 << 20;
    /// Towards a controller: results come behind it.
    pub(crate) const CONTROLLER: usize = 512 << 10;

    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            before: 0,
            since: 0,
            question: None,
        }
    }

    /// Whether a piece may be sent.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        self.before + self.since + bytes.max(PIECE_MIN) <= self.bytes_max
    }

    /// A piece was sent.
    pub(crate) fn note_sent(&mut self, bytes: usize) {
        self.since += bytes.max(PIECE_MIN);
    }

    /// The number of a question to ask now: it counts once it was [asked](Self::note_asked).
    pub(crate) fn question_due(&self) -> Option<u64> {
        (self.question.is_none() && self.since >= self.bytes_max / 4).then(random_u64)
    }

    pub(crate) const fn note_asked(&mut self, question: u64) {
        self.question = Some(question);
        self.before = self.since;
        self.since = 0;
    }

    /// A question was answered, ours or another.
    pub(crate) fn note_answer(&mut self, question: u64) {
        if self.question == Some(question) {
            self.question = None;
            self.before = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends until the window is full; how many pieces, and the questions that were asked.
    fn fill(window: &mut OutputWindow, bytes: usize) -> (usize, Vec<u64>) {
        let (mut sent, mut asked) = (0, Vec::new());
        while window.admits(bytes) {
            window.note_sent(bytes);
            sent += 1;
            if let Some(question) = window.question_due() {
                window.note_asked(question);
                asked.push(question);
            }
        }
        (sent, asked)
    }

    #[test]
    fn a_window_is_as_many_bytes_or_pieces_and_opens_with_the_answer() {
        for (bytes, pieces) in [(0, 256), (80, 256), (OUTPUT_MAX, 16)] {
            let mut window = OutputWindow::new(OutputWindow::CLIENT);
            let (sent, asked) = fill(&mut window, bytes);
            assert_eq!((sent, asked.len()), (pieces, 1), "pieces of {bytes} bytes");
            window.note_answer(asked[0].wrapping_add(1));
            assert!(!window.admits(bytes), "a wrong answer opens it");
            window.note_answer(asked[0]);
            // A quarter was before the question.
            let question = window.question_due().expect("more was sent since");
            window.note_asked(question);
            assert_eq!(fill(&mut window, bytes).0, pieces / 4);
            window.note_answer(question);
            assert_eq!(fill(&mut window, bytes).0, pieces * 3 / 4);
        }
    }

    #[test]
    fn questions_cannot_be_guessed() {
        let mut window = OutputWindow::new(OutputWindow::CLIENT);
        window.note_sent(OutputWindow::CLIENT);
        assert_ne!(window.question_due(), window.question_due());
    }
}
