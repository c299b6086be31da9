//! The sessions of clients, on the controller's side.
//!
//! ```text
//!  unknown ──anything──▶ asked ──hello──▶ awaiting ──Welcome──▶ in session ──hello──▶ awaiting …
//!                                            │ HelloRefused        │ gone, goodbye, unsendable
//!                                            ▼                     ▼
//!                                          unknown              unknown (ClientDown or Goodbye)
//! ```
//! A client is a process, named by the key that it drew; a session is one connection's worth of it,
//! and rises (rule R12). *The race to avoid:* a process reconnects before its old connection is
//! known to be gone, and messages of both are read in turn. An acknowledgement of the old session,
//! taken for one of the new, would drop outcomes that nobody has. So the old session ends when the
//! new one's *hello* is read, not when it is welcomed: events of the old one precede the hello in
//! the port's ring, and none follows it.

mod control;
mod output;

use taskyard_core::{
    ClientHello, ClientId, Epoch, Liveness, NoticeReply, Outcome, OutcomeReply, Refusal, Target,
    TaskId, Token, Welcome, WorkerId,
};
use taskyard_dispatcher::{Event, Payload};

use self::output::Told;
use crate::codes::{Rejection, Topic, write_outcome};
use crate::names::WorkerNames;
use crate::peer::{FromInline, Outbox, PeerKey, Side};
use crate::peers::{NumberMap, Peers};
use crate::sessions::{
    SessionCounts, SessionOptions, SessionStats, Turn, send_rejected, send_with,
};
use crate::submits::{count_refusal, read_submit};
use crate::wire::{Flags, Head, Header, Kind, Message, WireError};

/// Submits and cancels that may stay unacknowledged towards a client; its outcomes carry the
/// number, so this matters only while there are none.
const UNTOLD_MAX: u32 = 64;

/// Acknowledgements that ride on submits are passed on once so many outcomes are covered, unless
/// the quota is small: one event for many outcomes.
const ACK_BATCH_MAX: u32 = 16;

/// `code` of the answer about a worker that is not known; otherwise whether it is there.
pub(crate) const ALIVE_UNKNOWN: u8 = 2;

/// The share of the quota that may wait for such a batch.
const ACK_BATCH_SHARE: u32 = 8;

/// A client process, and the number of a session of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    key: u128,
    session: u32,
}

impl Identity {
    /// Whether this session is over once `other` has said hello.
    const fn is_before(self, other: Self) -> bool {
        self.key == other.key && self.session < other.session
    }

    /// Whether `other` comes too late for this session.
    const fn outdates(self, other: Self) -> bool {
        self.key == other.key && self.session >= other.session
    }
}

#[derive(Debug, Default)]
struct ClientPeer {
    /// It was asked to say hello, and has not.
    asked: bool,
    /// The hello that waits for its answer: until then nothing else of this peer counts.
    awaiting: Option<Token>,
    session: Option<Session>,
    /// Orders of queue control that have no answer.
    orders: u8,
    output: Told,
}

/// A question that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    side: Side,
    peer: PeerKey,
    /// The client's number for it.
    question: u64,
    /// Which order it is.
    order: u8,
}

#[derive(Debug)]
struct Session {
    client: ClientId,
    identity: Identity,
    /// The highest number received from the client, and the highest that it was told of.
    received: u32,
    told: u32,
    /// The highest outcome sent, and the highest whose acknowledgement was passed on.
    sent: u32,
    acked: u32,
    ack_batch: u32,
}

/// A hello that the dispatcher has not answered.
#[derive(Debug)]
struct Awaited {
    peer: PeerKey,
    identity: Identity,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The peer waits for the answer.
    Wanted,
    /// The connection is gone: if it is welcomed, the client is down at once.
    Gone,
    /// A later hello of the same process follows: the answer to that one counts.
    Superseded,
}

/// A session that has ended, while the event that says so waits for room.
#[derive(Debug)]
struct Departure {
    client: ClientId,
    identity: Identity,
}

/// All clients of one shard.
#[derive(Debug)]
pub(crate) struct ClientSessions {
    boot: u64,
    /// The largest payload, as it is told to a client.
    payload_max: u32,
    peers: Peers<ClientPeer>,
    /// By the index of the client: where its outcomes go.
    by_client: Vec<Option<(ClientId, PeerKey)>>,
    awaited: NumberMap<u64, Awaited>,
    /// Questions that the dispatcher has not answered: who asks, and the number of the question.
    /// Not more than there is room for answers.
    questions: NumberMap<u64, Asked>,
    silence_max_ms: u64,
    names: WorkerNames,
    token_last: u64,
    departures: Vec<Departure>,
}

impl ClientSessions {
    pub(crate) fn new(options: &SessionOptions) -> Self {
        Self {
            boot: options.boot,
            payload_max: options.payload_max_told(),
            peers: Peers::new(options.peers_max),
            by_client: Vec::new(),
            awaited: NumberMap::default(),
            questions: NumberMap::default(),
            silence_max_ms: options.silence_max_ms,
            names: options.names.clone(),
            token_last: 0,
            departures: Vec::new(),
        }
    }

    pub(crate) const fn has_departures(&self) -> bool {
        !self.departures.is_empty()
    }

    pub(crate) fn count(&self, counts: &mut SessionCounts) {
        counts.client_peers = self.peers.len();
        counts.hellos_awaited = self.awaited.len();
        counts.departures = self.departures.len();
        counts.questions = self.questions.len();
        counts.client_places = self.by_client.len();
    }

    /// A client whose session has ended and whose record does not know it yet.
    pub(crate) fn poll_departure(&mut self) -> Option<ClientId> {
        self.departures.pop().map(|departure| departure.client)
    }

    // ---- from the peer ----

    pub(crate) fn handle_probe<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let known = self.peers.get(turn.peer);
        if known.is_none_or(|entry| entry.session.is_none() && entry.awaiting.is_none()) {
            self.ask(turn);
        }
    }

    pub(crate) fn handle_hello<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let session = message.header.seq;
        let Ok(key) = <[u8; 16]>::try_from(message.body) else {
            turn.stats.malformed += 1;
            return turn.reject(Rejection::Malformed, session.into());
        };
        let identity = Identity {
            key: u128::from_le_bytes(key),
            session,
        };
        if self.is_outdated(identity) {
            turn.stats.rejected += 1;
            return turn.reject(Rejection::SessionStale, session.into());
        }
        if self.peers.enter(turn.peer).is_none() {
            turn.stats.peers_full += 1;
            return turn.reject(Rejection::PeersFull, session.into());
        }
        self.end_earlier(identity, turn);
        self.token_last += 1;
        let token = Token(self.token_last);
        if let Some(entry) = self.peers.get_mut(turn.peer) {
            // Another process behind the same connection: its session ends here.
            if let Some(other) = entry.session.take() {
                turn.port.send(Event::ClientDown(other.client));
                forget(&mut self.by_client, other.client, turn.peer);
            }
            if let Some(earlier) = entry.awaiting.replace(token)
                && let Some(awaited) = self.awaited.get_mut(&earlier.0)
                && awaited.fate == Fate::Wanted
            {
                awaited.fate = Fate::Gone;
            }
        }
        self.awaited.insert(
            token.0,
            Awaited {
                peer: turn.peer,
                identity,
                fate: Fate::Wanted,
            },
        );
        turn.port.send(Event::ClientUp(ClientHello {
            key: identity.key,
            session,
            keep_outcomes: true,
            token,
        }));
    }

    pub(crate) fn handle_submit<P: FromInline>(
        &mut self,
        message: &Message<'_>,
        payload: Result<Option<P>, Refusal>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let Some(session) = self.receive(&message.header, turn) else {
            return;
        };
        let client = session.client;
        // A submit without a payload is one with an empty payload.
        let parsed = read_submit(message, turn.port).and_then(|submit| {
            let payload = payload?.or_else(|| P::from_inline(&[]));
            Ok((submit, payload.ok_or(Refusal::PayloadTooLarge)?))
        });
        match parsed {
            Ok((submit, payload)) => turn.port.send(Event::Submit {
                client,
                submit,
                payload,
            }),
            Err(refusal) => {
                count_refusal(refusal, turn.stats);
                return self.refuse(message.header.id, refusal, turn);
            }
        }
        Self::tell(session, turn);
    }

    /// Answers a submit that cannot be taken apart: if its client has a session, the task must not
    /// be left without an outcome.
    pub(crate) fn handle_garbage<P: Payload>(
        &mut self,
        header: &Header,
        error: WireError,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let entry = self.peers.get(turn.peer);
        if entry.is_none_or(|entry| entry.awaiting.is_some() || entry.session.is_none()) {
            return turn.reject(error.into(), 0);
        }
        if self.receive(header, turn).is_some() {
            self.refuse(header.id, Refusal::Malformed, turn);
        }
    }

    /// A refusal is kept nowhere: where it cannot be sent, the session ends, and the client submits
    /// the task again in the next one.
    fn refuse<P: Payload>(
        &mut self,
        task: u64,
        refusal: Refusal,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let entry = self.peers.get_mut(turn.peer);
        let Some(session) = entry.and_then(|entry| entry.session.as_mut()) else {
            return;
        };
        let header = refused(task, refusal, session);
        if send_with(Side::Client, turn.peer, header, None, turn.out).is_err() {
            turn.stats.unsent += 1;
            self.end_unsendable(turn.peer, turn.out);
        }
    }

    pub(crate) fn handle_cancel<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        if let Some(session) = self.receive(&message.header, turn) {
            let client = session.client;
            turn.port.send(Event::Cancel {
                client,
                task: TaskId(message.header.id),
            });
            Self::tell(session, turn);
        }
    }

    pub(crate) fn handle_ack<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        if let Some(session) = self.session(turn) {
            take_ack(session, message.header.ack, 1, turn);
        }
    }

    /// A client asks whether a worker is there: whoever has a session may.
    pub(crate) fn handle_is_alive<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        if self.session(turn).is_some() {
            self.handle_question(message, turn);
        }
    }

    /// Somebody asks whether a worker is there, on either side: at the workers' endpoint whoever
    /// was let in may, without an introduction, and takes no place by it. A question is remembered
    /// until its answer, and the rings between us and the dispatcher have room for so many.
    pub(crate) fn handle_question<P: Payload>(
        &mut self,
        message: &Message<'_>,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        let header = &message.header;
        let target = match (Topic::from_code(header.code), message.name) {
            (Some(Topic::Worker), _) => Target::Worker(WorkerId(header.worker)),
            (Some(Topic::Named), Some(name)) => Target::Named(turn.port.name_key(name)),
            _ => {
                turn.stats.malformed += 1;
                return turn.reject(Rejection::Malformed, 0);
            }
        };
        self.token_last += 1;
        let token = Token(self.token_last);
        let asked = Asked {
            side: turn.side,
            peer: turn.peer,
            question: header.id,
            order: 0,
        };
        self.questions.insert(token.0, asked);
        turn.port.send(Event::IsAlive { token, target });
    }

    pub(crate) fn handle_goodbye<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        // Asking a client that leaves to come back would be odd, so a stranger's goodbye is silent.
        let Some(entry) = self.peers.remove(turn.peer) else {
            return;
        };
        if let Some(token) = entry.awaiting {
            self.abandon(token);
        }
        if let Some(session) = entry.session {
            forget(&mut self.by_client, session.client, turn.peer);
            turn.port.send(Event::Goodbye(session.client));
        }
    }

    pub(crate) fn handle_gone(&mut self, peer: PeerKey) {
        let Some(entry) = self.peers.remove(peer) else {
            return;
        };
        if let Some(token) = entry.awaiting {
            self.abandon(token);
        }
        if let Some(session) = entry.session {
            forget(&mut self.by_client, session.client, peer);
            let Session {
                client, identity, ..
            } = session;
            self.departures.push(Departure { client, identity });
        }
    }

    // ---- from the dispatcher ----

    pub(crate) fn handle_welcome<P>(
        &mut self,
        token: Token,
        welcome: Welcome,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some(Awaited {
            peer,
            identity,
            fate,
        }) = self.awaited.remove(&token.0)
        else {
            return;
        };
        let client = welcome.client;
        let entry = match fate {
            Fate::Wanted => self.peers.get_mut(peer),
            Fate::Gone => None,
            Fate::Superseded => {
                stats.superseded += 1;
                return;
            }
        };
        let Some(entry) = entry else {
            return self.departures.push(Departure { client, identity });
        };
        let ack_batch = (welcome.quota / ACK_BATCH_SHARE).clamp(1, ACK_BATCH_MAX);
        entry.asked = false;
        entry.awaiting = None;
        entry.session = Some(Session {
            client,
            identity,
            received: 0,
            told: 0,
            sent: 0,
            acked: 0,
            ack_batch,
        });
        remember(&mut self.by_client, client, peer);
        let mut header = Header::new(Kind::Welcome);
        if welcome.resumed {
            header.flags = header.flags.with(Flags::RESUMED);
        }
        header.ack = identity.session;
        header.seq = self.payload_max;
        header.id = client.to_bits();
        // Acknowledgements that we hold back for a batch still count against the quota.
        header.epoch = welcome.quota - welcome.quota.min(ack_batch - 1);
        let mut head = Head::new(&header).boot(self.boot);
        if out.send(Side::Client, peer, &mut head, None).is_err() {
            stats.unsent += 1;
            self.end_unsendable(peer, out);
        }
    }

    pub(crate) fn handle_refused<P>(
        &mut self,
        token: Token,
        rejection: Rejection,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        stats.rejected += 1;
        let Some(Awaited {
            peer,
            identity,
            fate,
        }) = self.awaited.remove(&token.0)
        else {
            return;
        };
        if fate == Fate::Wanted && self.peers.remove(peer).is_some() {
            let number = identity.session.into();
            send_rejected(Side::Client, peer, rejection, number, out, stats);
        }
    }

    /// Says what is known of a worker. A connection that had been silent for too long would have
    /// ended, so the word of one that stands is never older than that.
    pub(crate) fn handle_liveness<P>(
        &mut self,
        token: Token,
        liveness: Option<Liveness>,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some(asked) = self.questions.remove(&token.0) else {
            return;
        };
        let Asked {
            side,
            peer,
            question,
            ..
        } = asked;
        let mut header = Header::new(Kind::Alive);
        header.id = question;
        header.code = ALIVE_UNKNOWN;
        if let Some(known) = liveness {
            let bound = match self.silence_max_ms {
                silence_ms if known.alive && silence_ms > 0 => silence_ms,
                _ => u64::MAX,
            };
            header.flags = Flags::HAS_WORKER;
            header.worker = known.worker.0;
            header.epoch = known.epoch.0;
            header.code = u8::from(known.alive);
            header.seq = u32::try_from(known.age_ms.min(bound)).unwrap_or(u32::MAX);
        }
        let known = liveness.map(|known| (known.worker, known.epoch));
        let mut head = self.named(&header, known);
        let sent = out.send(side, peer, &mut head, None);
        stats.unsent += u64::from(sent.is_err());
    }

    /// A message about a worker, with its name if that is known.
    fn named(&self, header: &Header, worker: Option<(WorkerId, Epoch)>) -> Head {
        let head = Head::new(header);
        match worker.and_then(|worker| self.names.name(worker)) {
            Some(name) => head.name(&name),
            None => head,
        }
    }

    /// Tells a client that its task runs again. It is not repeated: the outcome is what counts.
    pub(crate) fn handle_notice<P>(
        &mut self,
        notice: &NoticeReply,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let Some((peer, _)) = self.find(notice.client) else {
            return;
        };
        let mut header = Header::new(Kind::Notice);
        header.flags = Flags::HAS_WORKER;
        header.id = notice.task.0;
        header.attempt = notice.attempt.0;
        header.worker = notice.worker.0;
        header.epoch = notice.epoch.0;
        let mut head = self.named(&header, Some((notice.worker, notice.epoch)));
        let sent = out.send(Side::Client, peer, &mut head, None);
        stats.unsent += u64::from(sent.is_err());
    }

    pub(crate) fn handle_outcome<P: FromInline>(
        &mut self,
        reply: &OutcomeReply,
        payload: Option<P>,
        out: &mut impl Outbox<P>,
        stats: &mut SessionStats,
    ) {
        let payload = match reply.outcome {
            Outcome::WorkerLost => self.tried(reply),
            _ => payload,
        };
        let found = self.find_entry(reply.client);
        let Some((peer, session, told)) = found else {
            stats.outcome_unsent += 1;
            return;
        };
        told.tell_missed(peer, reply, out);
        session.sent = session.sent.max(reply.seq);
        session.told = session.received;
        let mut header = Header::new(Kind::Outcome);
        header.seq = reply.seq;
        header.ack = session.received;
        header.id = reply.task.0;
        header.attempt = reply.attempts;
        if reply.part {
            header.flags = header.flags.with(Flags::PART);
        }
        write_outcome(
            &mut header,
            reply.outcome,
            reply.worker,
            session.identity.session,
        );
        if send_with(Side::Client, peer, header, payload, out).is_err() {
            // An outcome that is skipped would stay with the controller until the next session. So
            // this session ends here, and the next one gets it.
            stats.outcome_unsent += 1;
            self.end_unsendable(peer, out);
        }
    }

    // ---- inside ----

    /// Who lost or failed a task that is lost: the last few, and in any case the last.
    fn tried<P: FromInline>(&self, reply: &OutcomeReply) -> Option<P> {
        let last = reply.worker.filter(|last| {
            let noted = reply.tried.iter().last();
            noted != Some(*last)
        });
        let rows = self.names.write_tried(reply.tried.iter().chain(last));
        // A type of payload that cannot hold them goes without.
        (!rows.is_empty()).then(|| P::from_inline(&rows)).flatten()
    }

    /// The session of the sender, in which this message is the next one and its acknowledgement is
    /// taken; or nothing, and the message does not count.
    fn receive<P: Payload>(
        &mut self,
        header: &Header,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) -> Option<&mut Session> {
        let session = self.session(turn)?;
        if header.seq != 0 && header.seq <= session.received {
            turn.stats.duplicate += 1;
            return None;
        }
        session.received = session.received.max(header.seq);
        let batch = session.ack_batch;
        take_ack(session, header.ack, batch, turn);
        Some(session)
    }

    /// The session of the sender; a sender without one is asked who it is.
    fn session<P: Payload>(
        &mut self,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) -> Option<&mut Session> {
        let peer = turn.peer;
        let entry = self.peers.get(peer);
        if entry.is_some_and(|entry| entry.awaiting.is_none() && entry.session.is_some()) {
            return self.peers.get_mut(peer)?.session.as_mut();
        }
        turn.stats.unregistered += 1;
        if entry.is_none_or(|entry| entry.awaiting.is_none()) {
            self.ask(turn);
        }
        None
    }

    /// Asks a stranger to say hello, once: what it sent before it hears us must not make it say
    /// hello again for each.
    fn ask<P: Payload>(&mut self, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        let Some(entry) = self.peers.enter(turn.peer) else {
            turn.stats.peers_full += 1;
            return turn.reject(Rejection::PeersFull, 0);
        };
        if !entry.asked {
            entry.asked = turn.who_are_you();
        }
    }

    /// Tells the client how far we are, if no outcome has done so for long.
    fn tell<P: Payload>(session: &mut Session, turn: &mut Turn<'_, P, impl Outbox<P>>) {
        if session.received.wrapping_sub(session.told) >= UNTOLD_MAX {
            session.told = session.received;
            let mut header = Header::new(Kind::Ack);
            header.ack = session.received;
            let _counted = turn.answer(Head::new(&header));
        }
    }

    /// Whether the same session, or a later one, is known here.
    fn is_outdated(&self, identity: Identity) -> bool {
        let mut sessions = self
            .peers
            .iter()
            .filter_map(|(_, entry)| entry.session.as_ref());
        sessions.any(|session| session.identity.outdates(identity))
            || self
                .awaited
                .values()
                .any(|awaited| awaited.identity.outdates(identity))
    }

    /// Ends what the same process has here from before this hello.
    fn end_earlier<P: Payload>(
        &mut self,
        identity: Identity,
        turn: &mut Turn<'_, P, impl Outbox<P>>,
    ) {
        for awaited in self.awaited.values_mut() {
            if awaited.identity.is_before(identity) {
                awaited.fate = Fate::Superseded;
            }
        }
        // The record goes from session to session: it is not down in between.
        self.departures
            .retain(|departure| !departure.identity.is_before(identity));
        while let Some((peer, client)) = self.earlier_session(identity) {
            forget(&mut self.by_client, client, peer);
            if peer == turn.peer {
                if let Some(entry) = self.peers.get_mut(peer) {
                    entry.session = None;
                }
            } else {
                self.peers.remove(peer);
                turn.out.close(Side::Client, peer);
            }
        }
    }

    fn earlier_session(&self, identity: Identity) -> Option<(PeerKey, ClientId)> {
        self.peers.iter().find_map(|(peer, entry)| {
            let session = entry.session.as_ref()?;
            session
                .identity
                .is_before(identity)
                .then_some((peer, session.client))
        })
    }

    /// The peer of a hello is gone before its answer.
    fn abandon(&mut self, token: Token) {
        if let Some(awaited) = self.awaited.get_mut(&token.0)
            && awaited.fate == Fate::Wanted
        {
            awaited.fate = Fate::Gone;
        }
    }

    fn find(&mut self, client: ClientId) -> Option<(PeerKey, &mut Session)> {
        let (peer, session, _) = self.find_entry(client)?;
        Some((peer, session))
    }

    fn find_entry(&mut self, client: ClientId) -> Option<(PeerKey, &mut Session, &mut Told)> {
        let (known, peer) = (*self.by_client.get(client.index() as usize)?)?;
        let ClientPeer {
            session, output, ..
        } = self.peers.get_mut(peer)?;
        (known == client).then_some((peer, session.as_mut()?, output))
    }

    fn end_unsendable<P>(&mut self, peer: PeerKey, out: &mut impl Outbox<P>) {
        self.handle_gone(peer);
        out.close(Side::Client, peer);
    }
}

/// Passes an acknowledgement on once it covers `batch` outcomes more than the last one did.
fn take_ack<P: Payload>(
    session: &mut Session,
    ack: u32,
    batch: u32,
    turn: &mut Turn<'_, P, impl Outbox<P>>,
) {
    if ack > session.sent {
        turn.stats.ack_absurd += 1;
        return;
    }
    if ack.saturating_sub(session.acked) >= batch {
        session.acked = ack;
        turn.port.send(Event::Ack {
            client: session.client,
            seq: ack,
        });
    }
}

/// The header of a refusal by the sessions themselves: not numbered, like each refusal.
fn refused(task: u64, refusal: Refusal, session: &mut Session) -> Header {
    session.told = session.received;
    let mut header = Header::new(Kind::Outcome);
    header.id = task;
    header.ack = session.received;
    write_outcome(
        &mut header,
        Outcome::Refused(refusal),
        None,
        session.identity.session,
    );
    header
}

/// Grows at most to the number of clients that the dispatcher admits.
fn remember(by_client: &mut Vec<Option<(ClientId, PeerKey)>>, client: ClientId, peer: PeerKey) {
    let index = client.index() as usize;
    if by_client.len() <= index {
        by_client.resize(index + 1, None);
    }
    by_client[index] = Some((client, peer));
}

fn forget(by_client: &mut [Option<(ClientId, PeerKey)>], client: ClientId, peer: PeerKey) {
    if let Some(place) = by_client.get_mut(client.index() as usize)
        && *place == Some((client, peer))
    {
        *place = None;
    }
}
