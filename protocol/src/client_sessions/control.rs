//! Queue control in the sessions: who may order what, and which answer is whose.

use taskyard_core::{Sweep, Token};
use taskyard_dispatcher::{Answer, Event, OrderRefusal};

use super::{Asked, ClientSessions};
use crate::codes::Rejection;
use crate::control::{ControlOrder, Request, write_answer};
use crate::names::WorkerNames;
use crate::peer::{FromInline, Outbox};
use crate::sessions::{SessionStats, Turn};
use crate::wire::{Head, Header, Kind, Message};

/// Orders of one client that may wait for their answers: all but sweeps are answered at once.
const ORDERS_MAX: u8 = 4;

impl ClientSessions {
    /// A client asks or orders something. Whoever may not is told so; it learns nothing else, not
    /// even whether what it asks for exists.
    pub(crate) fn handle_control<P: FromInline>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let Some(session) = self.session(turn) else {
            return;
        };
        let me = session.client;
        let Ok(order) = ControlOrder::read(message) else {
            turn.stats.malformed += 1;
            return turn.reject(Rejection::Malformed, 0);
        };
        let asked = Asked {
            side: turn.side,
            peer: turn.peer,
            question: message.header.id,
            order: message.header.code,
        };
        let authority = turn.out.authority(turn.side, turn.peer);
        if !order.is_allowed(authority, me) {
            turn.stats.forbidden += 1;
            return self.refuse_order(asked, OrderRefusal::Forbidden, turn);
        }
        let Some(entry) = self.peers.get_mut(turn.peer) else {
            return;
        };
        if entry.orders >= ORDERS_MAX {
            turn.stats.orders_refused += 1;
            return self.refuse_order(asked, OrderRefusal::Busy, turn);
        }
        entry.orders += 1;
        self.token_last += 1;
        let token = Token(self.token_last);
        self.questions.insert(token.0, asked);
        let request = order.request(me, |name| turn.port.name_key(name));
        turn.port.send(match request {
            Request::Order(order) => Event::Control { token, order },
            Request::Sweep(select) => Event::Sweep(Sweep { select, token }),
        });
    }

    /// Passes an answer on to whoever has asked, if that is still there.
    pub(crate) fn handle_answer<P: FromInline>(
        &mut self,
        token: Token,
        answer: &Answer,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some(asked) = self.questions.remove(&token.0) else {
            return;
        };
        if let Some(entry) = self.peers.get_mut(asked.peer) {
            entry.orders = entry.orders.saturating_sub(1);
            send_answer(asked, answer, &self.names, out, stats);
        }
    }

    fn refuse_order<P: FromInline>(
        &self,
        asked: Asked,
        refusal: OrderRefusal,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let answer = Answer::Refused(refusal);
        send_answer(asked, &answer, &self.names, turn.out, turn.stats);
    }
}

fn send_answer<P: FromInline>(
    asked: Asked,
    answer: &Answer,
    names: &WorkerNames,
    out: &mut impl Outbox<P>,
    stats: &mut SessionStats,
) {
    let mut header = Header::new(Kind::Controlled);
    (header.id, header.code) = (asked.question, asked.order);
    let bytes = write_answer(&mut header, answer, names);
    let payload = P::from_inline(&bytes);
    let sent = match payload {
        Some(payload) => out.send(
            asked.side,
            asked.peer,
            &mut Head::new(&header),
            Some(payload),
        ),
        // The sessions carry a type of payload that is shorter than a page.
        None => {
            let refusal = Answer::Refused(OrderRefusal::TooLarge);
            let _empty = write_answer(&mut header, &refusal, names);
            out.send(asked.side, asked.peer, &mut Head::new(&header), None)
        }
    };
    stats.unsent += u64::from(sent.is_err());
}
