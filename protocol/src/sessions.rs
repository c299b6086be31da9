//! The controller's side of all connections of one shard.
//!
//! The sessions turn messages into events and replies into messages. They keep what must not be
//! lost with a connection apart from what may be: a *session* (client) or a *registration* (worker)
//! has its own numbers, and only messages of the present one reach the scheduler (rules R7, R12).
//!
//! ```text
//!   first frame, frames ──▶ handle_message ──▶ port.send(event)
//!   connection is gone  ──▶ handle_peer_gone
//!   outbox.send(..)     ◀── handle_reply     ◀── port.poll_reply()
//!                       ◀── handle_delivery  ◀── port.poll_delivery()
//! ```
//! Nothing that a peer sends makes them panic, allocate without a bound, or touch what belongs to
//! another peer. What cannot be used is counted in [`SessionStats`] and answered where the sender
//! can do something about it. In steady state, between registrations, no call allocates.

use std::fmt;
use std::marker::PhantomData;

use taskyard_core::Refusal;
use taskyard_dispatcher::{Answer, Delivery, Event, OrderRefusal, Payload, Port, Reply};

use crate::client_sessions::ClientSessions;
use crate::codes::Rejection;
use crate::log::WorkerLog;
use crate::names::WorkerNames;
use crate::output::OUTPUT_MAX;
use crate::peer::{FromInline, Incoming, Outbox, PeerKey, SendError, Side, payload_len};
use crate::wire::{BODY_MAX, Flags, Head, Header, Kind, Message, WireError};
use crate::worker_sessions::WorkerSessions;

/// What the sessions of a shard are told at their start.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The controller's boot id: a random number that it drew at its start (rule R13).
    pub boot: u64,
    /// The workers' endpoints of all shards, to spread registrations over; fewer than two: no
    /// redirects. An endpoint longer than 256 bytes is never redirected to.
    pub endpoints: Vec<String>,
    /// Which of them is ours.
    pub shard: usize,
    /// Connections that are remembered, on each side.
    pub peers_max: usize,
    /// The largest payload, all its frames together, in bytes.
    pub payload_max: usize,
    /// The key of the marks that workers show for results from before a restart: the same in all
    /// shards, and in the controllers that follow each other at one place; a secret.
    pub ticket_key: u128,
    /// The longest silence of a worker that would not have ended its connection, in milliseconds;
    /// 0: there is no such bound.
    pub silence_max_ms: u64,
    /// The workers' names: the same directory in all shards of a controller.
    pub names: WorkerNames,
}

impl SessionOptions {
    /// One shard, at most 65,536 connections a side, payloads of at most 16 MiB; results from
    /// before a restart are anybody's to forge until there is a key.
    #[must_use]
    pub fn new(boot: u64) -> Self {
        Self {
            boot,
            endpoints: Vec::new(),
            shard: 0,
            peers_max: 1 << 16,
            payload_max: 16 << 20,
            ticket_key: 0,
            silence_max_ms: 0,
            names: WorkerNames::default(),
        }
    }

    /// The largest payload, as peers are told: a larger frame costs them their connection.
    pub(crate) fn payload_max_told(&self) -> u32 {
        u32::try_from(self.payload_max).unwrap_or(u32::MAX)
    }
}

/// What the sessions saw that was out of order, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Messages of another version.
    pub version_unknown: u64,
    /// Messages of a kind that version 1 does not have.
    pub kind_unknown: u64,
    /// Messages of a kind that does not belong to their endpoint.
    pub misplaced: u64,
    /// Messages of peers that have no session or registration, or not yet again.
    pub unregistered: u64,
    /// Messages that had arrived before.
    pub duplicate: u64,
    /// Payloads that were larger than the limit, or not what their header announced.
    pub payload_refused: u64,
    /// Acknowledgements of what was never sent.
    pub ack_absurd: u64,
    /// Results of another boot of the controller (rule R13).
    pub other_boot: u64,
    /// Reports on attempts of another worker.
    pub foreign: u64,
    /// Reports on attempts that were not out.
    pub report_stale: u64,
    /// Hellos and registrations that a later one of the same peer overtook.
    pub superseded: u64,
    /// Orders of queue control that their client may not give.
    pub forbidden: u64,
    /// Orders of a client that had too many without an answer.
    pub orders_refused: u64,
    /// Hellos and registrations that were refused.
    pub rejected: u64,
    /// Connections that were turned away because there were too many.
    pub peers_full: u64,
    /// Workers that were sent to another shard.
    pub redirected: u64,
    /// Messages that could not be sent.
    pub unsent: u64,
    /// Facts for the log that there was no room for.
    pub logs_dropped: u64,
    /// Outcomes whose client was not connected; it gets them in its next session.
    pub outcome_unsent: u64,
    /// Pieces of output that were dropped: there was no room to spare, or their client is behind
    /// with reading, or not connected.
    pub output_dropped: u64,
}

/// How much the sessions remember: for tests, since each of these has a bound.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    pub client_peers: usize,
    pub worker_peers: usize,
    pub hellos_awaited: usize,
    pub registrations_awaited: usize,
    pub departures: usize,
    pub questions: usize,
    pub client_places: usize,
    pub seats: usize,
}

/// The sessions and registrations of one shard.
pub struct Sessions<P> {
    clients: ClientSessions,
    workers: WorkerSessions,
    stats: SessionStats,
    payload_max: usize,
    /// A shard carries one type of payload.
    payload: PhantomData<fn(P)>,
}

impl<P: FromInline> Sessions<P> {
    /// Events that one message can cause at most: ask [`Port::has_room`] for so many before reading
    /// one. A submit also acknowledges (2); a hello of another process ends the session before it
    /// (2); a late result also frees a slot (2); a registration ends the one before it (2).
    pub const ROOM: usize = 2;

    /// No sessions yet.
    #[must_use]
    pub fn new(mut options: SessionOptions) -> Self {
        options.endpoints.iter_mut().for_each(|endpoint| {
            if endpoint.len() > BODY_MAX {
                endpoint.clear();
            }
        });
        Self {
            clients: ClientSessions::new(&options),
            payload_max: options.payload_max,
            workers: WorkerSessions::new(options),
            stats: SessionStats::default(),
            payload: PhantomData,
        }
    }

    /// What was out of order so far.
    #[must_use]
    pub const fn stats(&self) -> SessionStats {
        SessionStats {
            logs_dropped: self.workers.logs_dropped(),
            ..self.stats
        }
    }

    /// The next fact about a worker for the log.
    pub fn poll_log(&mut self) -> Option<WorkerLog> {
        self.workers.poll_log()
    }

    /// How much is remembered now.
    #[doc(hidden)]
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        let mut counts = SessionCounts::default();
        self.clients.count(&mut counts);
        self.workers.count(&mut counts);
        counts
    }

    /// Takes one message of a peer: its first frame, and what came behind it. An empty first frame
    /// is what libzmq sends for a new connection with `ZMQ_PROBE_ROUTER`.
    ///
    /// # Panics
    /// The port has no [`ROOM`](Self::ROOM).
    pub fn handle_message(
        &mut self,
        side: Side,
        peer: PeerKey,
        first_frame: &[u8],
        incoming: Incoming<P>,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
    ) {
        self.settle(port);
        let turn = &mut Turn {
            side,
            peer,
            port,
            out,
            stats: &mut self.stats,
        };
        if first_frame.is_empty() {
            return match side {
                Side::Client => self.clients.handle_probe(turn),
                Side::Worker => self.workers.handle_probe(turn),
            };
        }
        let message = match Message::decode(first_frame) {
            Ok(message) => message,
            Err(error) => {
                count_garbage(error, turn.stats);
                return match (side, Header::decode(first_frame)) {
                    (Side::Client, Ok((header, _))) if header.kind == Kind::Submit => {
                        self.clients.handle_garbage(&header, error, turn);
                    }
                    (Side::Worker, Ok((header, _))) if header.kind == Kind::Result => {
                        self.workers.handle_garbage(&header, error, turn);
                    }
                    _ => turn.reject(error.into(), 0),
                };
            }
        };
        let payload = payload_of(&message, incoming, self.payload_max);
        match (side, message.header.kind) {
            (_, Kind::Ping) => turn.pong(message.header.id),
            (Side::Client, Kind::Pong) => {
                self.clients.handle_pong(peer, message.header.id, turn.out);
            }
            (Side::Worker, Kind::Pong) => {}
            (Side::Client, Kind::Submit) => self.clients.handle_submit(&message, payload, turn),
            (Side::Client, Kind::Cancel) => self.clients.handle_cancel(&message, turn),
            (Side::Client, Kind::Ack) => self.clients.handle_ack(&message, turn),
            (Side::Client, Kind::ClientHello) => self.clients.handle_hello(&message, turn),
            (Side::Client, Kind::Goodbye) => self.clients.handle_goodbye(turn),
            (Side::Client, Kind::IsAlive) => self.clients.handle_is_alive(&message, turn),
            (Side::Client, Kind::Control) => self.clients.handle_control(&message, turn),
            (Side::Worker, Kind::Result) => self.workers.handle_result(&message, payload, turn),
            (Side::Worker, Kind::HandIn) => self.workers.handle_hand_in(&message, payload, turn),
            (Side::Worker, Kind::Register) => self.workers.handle_register(&message, payload, turn),
            (Side::Worker, Kind::IsAlive) => {
                self.workers.release_watcher(peer);
                self.clients.handle_question(&message, turn);
            }
            (Side::Worker, Kind::Leave) => self.workers.handle_leave(turn),
            (Side::Worker, Kind::Drain) => self.workers.handle_drain(turn),
            // Nothing that goes to a worker is numbered, so there is nothing to acknowledge.
            (Side::Worker, Kind::Ack) => {}
            (Side::Worker, Kind::Started | Kind::Revoked) => {
                self.workers.handle_prefetched(&message, turn);
            }
            (Side::Worker, Kind::Output) => self.workers.handle_output(&message, payload, turn),
            _ => {
                turn.stats.misplaced += 1;
                turn.reject(Rejection::Kind, 0);
            }
        }
    }

    /// Says whether this process has just stood still for so long that connections may have ended
    /// for it: then those that are found to have are only suspected (see
    /// [`Loss::Stalled`](taskyard_core::Loss::Stalled)).
    pub const fn note_stall(&mut self, stalled: bool) {
        self.workers.note_stall(stalled);
    }

    /// Takes note that a connection is gone. Needs no room: what cannot be passed on yet is kept.
    pub fn handle_peer_gone(&mut self, side: Side, peer: PeerKey, port: &mut Port<P>) {
        match side {
            Side::Client => self.clients.handle_gone(peer),
            Side::Worker => self.workers.handle_ended(peer, port),
        }
        self.settle(port);
    }

    /// Does what the dispatcher wants. Needs no room: draining replies never depends on it.
    pub fn handle_reply(&mut self, reply: Reply<P>, port: &mut Port<P>, out: &mut impl Outbox<P>) {
        let stats = &mut self.stats;
        match reply {
            Reply::Outcome { reply, payload } => {
                self.clients.handle_outcome(&reply, payload, out, stats);
            }
            Reply::Welcome { token, welcome } => {
                self.clients.handle_welcome(token, welcome, out, stats);
            }
            Reply::HelloRefused { token, refusal } => {
                self.clients
                    .handle_refused(token, refusal.into(), out, stats);
            }
            Reply::Registered {
                token,
                worker,
                epoch,
                slots,
                ..
            } => {
                self.workers
                    .handle_registered(token, (worker, epoch), slots, port, out, stats);
            }
            Reply::NotRegistered { token, refusal } => {
                self.workers
                    .handle_refused(token, refusal.into(), out, stats);
            }
            Reply::Abort {
                worker,
                epoch,
                handle,
                attempt,
            } => {
                self.workers
                    .handle_abort((worker, epoch), (handle, attempt), out, stats);
            }
            Reply::Recall {
                worker,
                epoch,
                handle,
                attempt,
            } => {
                self.workers
                    .handle_recall((worker, epoch), (handle, attempt), out, stats);
            }
            Reply::Evict {
                worker,
                epoch,
                drained,
            } => {
                self.workers
                    .handle_evict((worker, epoch), drained, port, out, stats);
            }
            Reply::Output { .. } | Reply::OutputMissed { .. } => self.handle_output(reply, out),
            Reply::Notice(notice) => self.clients.handle_notice(&notice, out, stats),
            Reply::Liveness { token, liveness } => {
                self.clients.handle_liveness(token, liveness, out, stats);
            }
            // The port empties the mailbox and hands it back by itself.
            Reply::Retire {
                worker,
                epoch,
                settled,
            } => self.workers.handle_retired((worker, epoch), settled),
            control @ (Reply::Controlled { .. }
            | Reply::Swept { .. }
            | Reply::SweepRefused { .. }) => self.handle_answer(control, out),
            // The port obeys by itself.
            Reply::Pause { .. } => {}
        }
        self.settle(port);
    }

    /// What tasks have printed.
    fn handle_output(&mut self, reply: Reply<P>, out: &mut impl Outbox<P>) {
        match reply {
            Reply::Output { reply, payload } => {
                self.clients
                    .handle_output(&reply, payload, out, &mut self.stats);
            }
            Reply::OutputMissed { client, missed } => self.clients.note_missed(client, missed),
            _ => {}
        }
    }

    /// An answer of queue control.
    fn handle_answer(&mut self, reply: Reply<P>, out: &mut impl Outbox<P>) {
        let (token, answer) = match reply {
            Reply::Controlled { token, answer } => (token, answer),
            Reply::Swept { token, touched } => (token, Answer::Swept(touched)),
            Reply::SweepRefused { token } => (token, Answer::Refused(OrderRefusal::Busy)),
            _ => return,
        };
        self.clients
            .handle_answer(token, &answer, out, &mut self.stats);
    }

    /// Sends a claimed task to its worker, or gives it back if there is no way.
    pub fn handle_delivery(
        &mut self,
        delivery: Delivery<P>,
        port: &mut Port<P>,
        out: &mut impl Outbox<P>,
    ) {
        self.workers
            .handle_delivery(&delivery, port, out, &mut self.stats);
    }

    /// Passes on what had to wait for room in the port's event ring: once per turn of the shard's
    /// loop is enough. Every other method does it too.
    pub fn settle(&mut self, port: &mut Port<P>) {
        // What one message may need stays free, so that reading never waits for departures.
        while self.clients.has_departures() && port.has_room(Self::ROOM + 1) {
            if let Some(client) = self.clients.poll_departure() {
                port.send(Event::ClientDown(client));
            }
        }
    }

    /// Whether something still waits for room: then do not sleep without asking the port for it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.clients.has_departures()
    }
}

impl<P> fmt::Debug for Sessions<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// One message's way through the sessions: who sent it, and where to answer.
pub(crate) struct Turn<'a, P: Payload, O> {
    pub(crate) side: Side,
    pub(crate) peer: PeerKey,
    pub(crate) port: &'a mut Port<P>,
    pub(crate) out: &'a mut O,
    pub(crate) stats: &'a mut SessionStats,
}

impl<P: Payload, O: Outbox<P>> Turn<'_, P, O> {
    /// Sends a message of its own to the peer. That it cannot be sent is counted: the transport
    /// will tell that the connection is gone, or the peer does not read and waits for nothing.
    pub(crate) fn answer(&mut self, mut head: Head) -> Result<(), SendError> {
        let sent = self.out.send(self.side, self.peer, &mut head, None);
        self.stats.unsent += u64::from(sent.is_err());
        sent
    }

    pub(crate) fn reject(&mut self, rejection: Rejection, number: u64) {
        send_rejected(
            self.side, self.peer, rejection, number, self.out, self.stats,
        );
    }

    /// False if the question cannot be asked now.
    pub(crate) fn who_are_you(&mut self) -> bool {
        self.answer(Head::new(&Header::new(Kind::WhoAreYou)))
            .is_ok()
    }

    fn pong(&mut self, id: u64) {
        let mut header = Header::new(Kind::Pong);
        header.id = id;
        let _counted = self.answer(Head::new(&header));
    }
}

fn count_garbage(error: WireError, stats: &mut SessionStats) {
    match error {
        WireError::Version(_) => stats.version_unknown += 1,
        WireError::Kind(_) => stats.kind_unknown += 1,
        _ => stats.malformed += 1,
    }
}

/// Tells a peer why its message was not accepted; `number` is that of the hello or registration.
pub(crate) fn send_rejected<P>(
    side: Side,
    peer: PeerKey,
    rejection: Rejection,
    number: u64,
    out: &mut impl Outbox<P>,
    stats: &mut SessionStats,
) {
    let mut header = Header::new(Kind::Rejected);
    header.code = rejection.to_code();
    header.id = number;
    let sent = out.send(side, peer, &mut Head::new(&header), None);
    stats.unsent += u64::from(sent.is_err());
}

/// Sends a message with or without a payload, and says in its header which.
pub(crate) fn send_with<P>(
    side: Side,
    peer: PeerKey,
    mut header: Header,
    payload: Option<P>,
    out: &mut impl Outbox<P>,
) -> Result<(), SendError> {
    if payload.is_none() {
        header.flags = header.flags.with(Flags::NO_PAYLOAD);
    }
    out.send(side, peer, &mut Head::new(&header), payload)
}

/// The payload of a message, if it is of a kind that has one.
fn payload_of<P: FromInline>(
    message: &Message<'_>,
    incoming: Incoming<P>,
    payload_max: usize,
) -> Result<Option<P>, Refusal> {
    match message.header.kind {
        Kind::Submit | Kind::Result | Kind::HandIn => take_payload(message, incoming, payload_max),
        // Its labels: a few bytes, which are looked at where they are.
        Kind::Register if message.header.frames > 0 => take_payload(message, incoming, payload_max),
        Kind::Output => take_payload(message, incoming, payload_max.min(OUTPUT_MAX)),
        _ => Ok(None),
    }
}

/// The payload of a message: inline, in frames of its own, or none.
fn take_payload<P: FromInline>(
    message: &Message<'_>,
    incoming: Incoming<P>,
    payload_max: usize,
) -> Result<Option<P>, Refusal> {
    match incoming {
        // So a peer says that it has a payload which it knows to be too large for us.
        Incoming::Alone if message.header.frames > 0 => Err(Refusal::PayloadTooLarge),
        Incoming::Alone if message.header.flags.has(Flags::NO_PAYLOAD) => Ok(None),
        Incoming::Alone if message.body.len() > payload_max => Err(Refusal::PayloadTooLarge),
        Incoming::Alone => match P::from_inline(message.body) {
            Some(payload) => Ok(Some(payload)),
            None => Err(Refusal::PayloadTooLarge),
        },
        Incoming::Frames(payload) if payload.frame_count() != message.header.frames.into() => {
            Err(Refusal::Malformed)
        }
        Incoming::Frames(payload) if payload_len(&payload) > payload_max => {
            Err(Refusal::PayloadTooLarge)
        }
        Incoming::Frames(payload) => Ok(Some(payload)),
        Incoming::Unusable => Err(Refusal::PayloadTooLarge),
    }
}
