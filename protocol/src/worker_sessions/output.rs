//! What workers say that their tasks have printed. It is passed on or dropped, at once: no result
//! and no heartbeat waits for it, and it ends no attempt and no registration.

use taskyard_core::{Attempt, AttemptAt, Epoch, Printed, Refusal, TaskHandle, WorkerId};
use taskyard_dispatcher::OutputFate;

use super::WorkerSessions;
use crate::codes::{Rejection, stream_from_code};
use crate::peer::{FromInline, Outbox};
use crate::sessions::Turn;
use crate::wire::Message;

impl WorkerSessions {
    pub(crate) fn handle_output<P: FromInline>(
        &mut self,
        message: &Message<'_>,
        payload: Result<Option<P>, Refusal>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let peer = self.peers.get(turn.peer);
        let Some(up) = peer.and_then(|peer| peer.up.as_ref()) else {
            turn.stats.unregistered += 1;
            if peer.is_none_or(|peer| peer.awaiting.is_none()) {
                self.ask(turn);
            }
            return;
        };
        let instance = up.instance;
        let header = &message.header;
        let Some(stream) = stream_from_code(header.code) else {
            turn.stats.malformed += 1;
            return turn.reject(Rejection::Malformed, 0);
        };
        let attempt = AttemptAt {
            worker: WorkerId(header.worker),
            epoch: Epoch(header.epoch),
            handle: TaskHandle::from_bits(header.id),
            attempt: Attempt(header.attempt),
        };
        if attempt.epoch != up.incarnation.1 && self.find((attempt.worker, attempt.epoch)).is_some()
        {
            // That incarnation is another worker's here.
            turn.stats.foreign += 1;
            return;
        }
        let payload = payload.map(|payload| payload.or_else(|| P::from_inline(&[])));
        let Ok(Some(payload)) = payload else {
            turn.stats.payload_refused += 1;
            return;
        };
        if payload.frame_count() != 1 {
            turn.stats.payload_refused += 1;
            return;
        }
        let printed = Printed {
            stream,
            dropped_bytes: header.ack,
            missed: 0,
        };
        match turn.port.output(instance, attempt, printed, payload) {
            OutputFate::Sent => {}
            OutputFate::Dropped => turn.stats.output_dropped += 1,
            OutputFate::Stale => turn.stats.report_stale += 1,
        }
    }
}
