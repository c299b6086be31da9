//! What tasks print, as their client is told.

use taskyard_core::{Epoch, TaskId, WorkerId};

use super::{ClientEvent, ClientState};
use crate::codes::stream_from_code;
use crate::peer::{FromInline, Incoming};
use crate::remote::read_payload;
use crate::wire::{Message, WireError};

impl<P: FromInline> ClientState<P> {
    /// A piece of output. What comes behind the outcome, from a connection before this one, is no
    /// news; nor is what only a later version would understand.
    pub(super) fn handle_output(
        &self,
        message: &Message<'_>,
        incoming: Incoming<P>,
    ) -> Result<Option<ClientEvent<P>>, WireError> {
        let header = &message.header;
        let Some(stream) = stream_from_code(header.code) else {
            return Ok(None);
        };
        let payload = match read_payload(message, incoming)? {
            Some(payload) => payload,
            None => P::from_inline(&[]).ok_or(WireError::Body)?,
        };
        let task = TaskId(header.id);
        let worker = (WorkerId(header.worker), Epoch(header.epoch));
        let kept = self.kept.get(&task);
        if kept.is_none_or(|kept| kept.parts.contains(&worker.1)) {
            return Ok(None);
        }
        Ok(Some(ClientEvent::Output {
            task,
            attempt: header.attempt,
            worker,
            stream,
            dropped_bytes: header.ack,
            dropped_notices: header.extra,
            payload,
        }))
    }
}
