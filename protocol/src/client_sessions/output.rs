//! Output on its way to clients: as much as a connection's window admits, the rest is dropped.

use taskyard_core::{ClientId, OutcomeReply, OutputReply, Stream};
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

impl Told {
    /// Says what is missing, if something is, before an outcome after which there may be no more
    /// output to say it with. Such a notice has no text, and stands outside the window: there is at
    /// most one for each outcome.
    pub(super) fn tell_missed<P>(
        &mut self,
        peer: PeerKey,
        outcome: &OutcomeReply,
        out: &mut impl Outbox<P>,
    ) {
        if self.missed == 0 {
            return;
        }
        let mut header = Header::new(Kind::Notice);
        header.flags = Flags::NO_PAYLOAD;
        header.id = outcome.task.0;
        header.attempt = outcome.attempts;
        if let Some((worker, epoch)) = outcome.worker {
            header.flags = header.flags.with(Flags::HAS_WORKER);
            (header.worker, header.epoch) = (worker.0, epoch.0);
        }
        header.code = stream_to_code(Stream::Stdout);
        header.extra = self.missed;
        if out
            .send(Side::Client, peer, &mut Head::new(&header), None)
            .is_ok()
        {
            self.missed = 0;
        }
    }
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
        let Some((peer, _, told)) = self.find_entry(reply.client) else {
            stats.output_dropped += 1;
            return;
        };
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

    /// Output of a client was dropped before it came here.
    pub(crate) fn note_missed(&mut self, client: ClientId, missed: u16) {
        if let Some((_, _, told)) = self.find_entry(client) {
            told.missed = told.missed.saturating_add(missed);
        }
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
