//! Output on its way to clients: as much as a connection's window admits, the rest is dropped.

use taskyard_core::OutputReply;
use taskyard_dispatcher::Payload;

use super::ClientSessions;
use crate::codes::stream_to_code;
use crate::output::OutputWindow;
use crate::peer::{Outbox, PeerKey, Side, payload_len};
use crate::sessions::SessionStats;
use crate::wire::{Flags, Head, Header, Kind};

/// What one connection is told of output.
#[derive(Debug, Default)]
pub(super) struct Told {
    window: OutputWindow,
    /// Pieces that were dropped since the last one that was sent.
    missed: u16,
}

impl ClientSessions {
    /// Tells a client what its task has printed, or drops it. It never ends a session, as an
    /// outcome would that cannot be sent.
    pub(crate) fn handle_output<P: Payload>(
        &mut self,
        reply: &OutputReply,
        payload: P,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some((peer, _)) = self.find(reply.client) else {
            stats.output_dropped += 1;
            return;
        };
        let Some(entry) = self.peers.get_mut(peer) else {
            return;
        };
        let told = &mut entry.output;
        let bytes = payload_len(&payload);
        let missed = told.missed.saturating_add(reply.printed.missed);
        let sent = told.window.admits(bytes) && {
            let mut head = Head::new(&notice(reply, missed));
            out.send(Side::Client, peer, &mut head, Some(payload))
                .is_ok()
        };
        if sent {
            told.missed = 0;
            told.window.note_sent(bytes);
        } else {
            told.missed = missed.saturating_add(1);
            stats.output_dropped += 1;
        }
        ask(told, peer, out);
    }

    /// A client has read all that it was sent before a question.
    pub(crate) fn handle_pong<P>(
        &mut self,
        peer: PeerKey,
        question: u64,
        out: &mut impl Outbox<P>,
    ) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.output.window.note_answer(question);
            ask(&mut entry.output, peer, out);
        }
    }
}

/// Where it cannot be asked now, it will be with the next piece.
fn ask<P>(told: &mut Told, peer: PeerKey, out: &mut impl Outbox<P>) {
    let Some(question) = told.window.question_due() else {
        return;
    };
    let mut header = Header::new(Kind::Ping);
    header.id = question;
    if out
        .send(Side::Client, peer, &mut Head::new(&header), None)
        .is_ok()
    {
        told.window.note_asked(question);
    }
}

fn notice(reply: &OutputReply, missed: u16) -> Header {
    let mut header = Header::new(Kind::Notice);
    header.flags = Flags::HAS_WORKER;
    header.id = reply.task.0;
    header.attempt = reply.attempt.0;
    header.worker = reply.worker.0;
    header.epoch = reply.epoch.0;
    header.code = stream_to_code(reply.printed.stream);
    header.ack = reply.printed.dropped_bytes;
    header.extra = missed;
    header
}
