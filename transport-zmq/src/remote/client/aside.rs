//! What a client is told while it waits for an answer, until its program asks for it.

use std::collections::VecDeque;

use taskyard_protocol::OUTPUT_BYTES_MAX;
use taskyard_protocol::remote::ClientEvent;

use crate::message::ZmqPayload;

/// Output counts as at least so many bytes here.
const PIECE_MIN: usize = 4 << 10;

/// Events that were put aside. Of output there are not more than the controller would send to a
/// client that does not read; what is dropped here is told as if it had dropped it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    events: VecDeque<ClientEvent<ZmqPayload>>,
    output_bytes: usize,
    missed: u16,
}

impl Aside {
    pub(super) fn push(&mut self, event: ClientEvent<ZmqPayload>) {
        if let ClientEvent::Output {
            payload,
            dropped_notices,
            ..
        } = &event
        {
            let bytes = charge(payload);
            if self.output_bytes + bytes > OUTPUT_BYTES_MAX {
                let missed = dropped_notices.saturating_add(1);
                self.missed = self.missed.saturating_add(missed);
                return;
            }
            self.output_bytes += bytes;
        }
        self.events.push_back(event);
    }

    /// The first event.
    pub(super) fn pop(&mut self) -> Option<ClientEvent<ZmqPayload>> {
        let event = self.events.pop_front()?;
        if let ClientEvent::Output { payload, .. } = &event {
            self.output_bytes -= charge(payload);
        }
        Some(event)
    }

    /// An event that goes to the program and was not put aside.
    pub(super) fn pass(&mut self, mut event: ClientEvent<ZmqPayload>) -> ClientEvent<ZmqPayload> {
        if let ClientEvent::Output {
            dropped_notices, ..
        } = &mut event
        {
            let missed = std::mem::take(&mut self.missed);
            *dropped_notices = dropped_notices.saturating_add(missed);
        }
        event
    }
}

fn charge(payload: &ZmqPayload) -> usize {
    let bytes: usize = payload.frames().map(<[u8]>::len).sum();
    bytes.max(PIECE_MIN)
}

#[cfg(test)]
mod tests {
    use taskyard_core::{Epoch, Stream, TaskId, WorkerId};

    use super::*;

    fn output(bytes: usize) -> ClientEvent<ZmqPayload> {
        ClientEvent::Output {
            task: TaskId(1),
            attempt: 1,
            worker: (WorkerId(0), Epoch(1)),
            stream: Stream::Stdout,
            dropped_bytes: 0,
            dropped_notices: 0,
            payload: ZmqPayload::from_bytes(&vec![0; bytes]),
        }
    }

    #[test]
    fn output_has_a_bound_and_what_is_dropped_is_told() {
        let mut aside = Aside::default();
        for _ in 0..300 {
            aside.push(output(1));
        }
        let kept = std::iter::from_fn(|| aside.pop()).count();
        assert_eq!((kept, aside.output_bytes), (256, 0));
        for expected in [44, 0] {
            let next = aside.pass(output(1));
            assert!(matches!(next, ClientEvent::Output { dropped_notices, .. }
                if dropped_notices == expected));
        }
    }
}
