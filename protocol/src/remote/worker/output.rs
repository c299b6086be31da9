//! What tasks print, as their worker passes it on: as much as the window towards the controller
//! admits. The rest is dropped and counted, and what is sent next says how much.

use taskyard_core::Stream;

use super::{Assignment, WorkerState, attempt_header};
use crate::codes::stream_to_code;
use crate::output::{OUTPUT_MAX, OutputWindow};
use crate::peer::{FromInline, Wire, payload_len};
use crate::remote::Standing;
use crate::wire::{Head, Header, Kind};

/// What is known of the output of one attempt, if any of it was dropped.
#[derive(Debug)]
struct Dropped {
    assignment: Assignment,
    bytes: u32,
    stream: Stream,
    /// The controller was not told of the last of them.
    untold: bool,
}

#[derive(Debug)]
pub(super) struct Output {
    window: OutputWindow,
    /// Of attempts that still run.
    dropped: Vec<Dropped>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            window: OutputWindow::new(OutputWindow::CONTROLLER),
            dropped: Vec::new(),
        }
    }
}

impl Output {
    /// A registration begins: questions of the one before it are not answered any more.
    pub(super) fn begin(&mut self) {
        self.window = OutputWindow::new(OutputWindow::CONTROLLER);
    }

    fn find(&mut self, assignment: &Assignment) -> Option<&mut Dropped> {
        let mut dropped = self.dropped.iter_mut();
        dropped.find(|dropped| dropped.assignment == *assignment)
    }

    fn drop_bytes(&mut self, assignment: &Assignment, stream: Stream, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.find(assignment) {
            Some(dropped) => {
                dropped.bytes = dropped.bytes.saturating_add(bytes);
                (dropped.stream, dropped.untold) = (stream, true);
            }
            None => self.dropped.push(Dropped {
                assignment: *assignment,
                bytes,
                stream,
                untold: true,
            }),
        }
    }
}

impl<P: FromInline> WorkerState<P> {
    /// Passes on what an attempt has printed, now or not at all: `false` if it was dropped. That is
    /// so while there is no registration, when more is on its way than the controller has read, for
    /// a payload of several frames or of more than [`OUTPUT_MAX`] bytes, and for an attempt that
    /// was given by an earlier boot of the controller. What was dropped is counted, and told with
    /// the next piece of this attempt, at the latest before its result.
    ///
    /// Nothing waits for output: no result, no answer to the controller.
    pub fn output(
        &mut self,
        assignment: &Assignment,
        stream: Stream,
        payload: P,
        wire: &mut impl Wire<P>,
    ) -> bool {
        if !self.running.contains(assignment) {
            return false;
        }
        let bytes = payload_len(&payload);
        let may_be_sent = matches!(self.standing, Standing::Up(registration)
            if registration.boot == assignment.boot
                && !registration.payload_max.is_exceeded_by(&payload))
            && payload.frame_count() == 1
            && bytes <= OUTPUT_MAX
            && self.output.window.admits(bytes);
        let sent = may_be_sent && {
            let header = self.output_header(assignment, stream);
            wire.send(&mut Head::new(&header), Some(payload)).is_ok()
        };
        if sent {
            self.output.window.note_sent(bytes);
            if let Some(dropped) = self.output.find(assignment) {
                dropped.untold = false;
            }
        } else {
            self.output.drop_bytes(assignment, stream, bytes);
        }
        self.ask_for_more(wire);
        sent
    }

    /// An attempt ends: says what is missing of its output, if that was not said.
    pub(super) fn end_output(&mut self, assignment: &Assignment, wire: &mut impl Wire<P>) {
        let mut dropped = self.output.dropped.iter();
        let Some(at) = dropped.position(|dropped| dropped.assignment == *assignment) else {
            return;
        };
        let is_up = matches!(self.standing, Standing::Up(registration)
            if registration.boot == assignment.boot);
        if self.output.dropped[at].untold && is_up {
            let header = self.output_header(assignment, self.output.dropped[at].stream);
            // As good as the output itself: it may be lost.
            let _ = wire.send(&mut Head::new(&header), P::from_inline(&[]));
        }
        self.output.dropped.swap_remove(at);
    }

    pub(super) fn handle_pong(&mut self, question: u64, wire: &mut impl Wire<P>) {
        self.output.window.note_answer(question);
        self.ask_for_more(wire);
    }

    fn ask_for_more(&mut self, wire: &mut impl Wire<P>) {
        if let Some(question) = self.output.window.question_due() {
            let mut header = Header::new(Kind::Ping);
            header.id = question;
            if wire.send(&mut Head::new(&header), None).is_ok() {
                self.output.window.note_asked(question);
            }
        }
    }

    fn output_header(&self, assignment: &Assignment, stream: Stream) -> Header {
        let mut header = attempt_header(Kind::Output, assignment);
        header.code = stream_to_code(stream);
        let mut dropped = self.output.dropped.iter();
        let dropped = dropped.find(|dropped| dropped.assignment == *assignment);
        header.ack = dropped.map_or(0, |dropped| dropped.bytes);
        header
    }
}
