//! Queue control from a client's side.

use super::{ClientEvent, ClientState, Standing};
use crate::control::{ControlOrder, read_answer, read_worker_descriptions};
use crate::peer::{FromInline, Incoming, Wire};
use crate::remote::{payload_bytes, read_payload};
use crate::wire::{Message, WireError};

impl<P: FromInline> ClientState<P> {
    /// Asks or orders something. The answer comes as a [`ClientEvent::Controlled`] with the same
    /// number, unless the connection breaks before: then it may have been carried out or not.
    /// `false` without a session, or if a name in it is none: nothing was sent.
    pub fn control(
        &mut self,
        question: u64,
        order: ControlOrder<'_>,
        wire: &mut impl Wire<P>,
    ) -> bool {
        if !matches!(self.standing, Standing::Up(_)) {
            return false;
        }
        let Some(mut head) = order.write(question) else {
            return false;
        };
        wire.send(&mut head, None).is_ok()
    }
}

pub(super) fn read_controlled<P: FromInline>(
    message: &Message<'_>,
    incoming: Incoming<P>,
) -> Result<ClientEvent<P>, WireError> {
    let payload = read_payload(message, incoming)?;
    let bytes = payload_bytes(payload.as_ref());
    Ok(ClientEvent::Controlled {
        question: message.header.id,
        answer: read_answer(&message.header, &bytes)?,
        workers: read_worker_descriptions(&message.header, &bytes)?,
    })
}
