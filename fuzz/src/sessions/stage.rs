//! The controller's side in one thread, the network, and everybody on it.

use taskyard_core::{ClientId, Config, Instant, Stats};
use taskyard_dispatcher::{Dispatcher, Port, ThreadParker};
use taskyard_protocol::wire::{Flags, Head, Header, Kind};
use taskyard_protocol::{SendError, SessionOptions, SessionStats, Sessions};

use super::Fault;
use super::honest::{self, Client, Ledger, Worker, name_of};
use super::network::{Bytes, Network, Packet, Place, Rest, Seen, side_of};
use super::operation::{Forgery, Operation, Pick, Tail, Wording};

/// The boot id of the first controller; those that follow it count up.
const BOOT: u64 = 0xb007;
/// The code of a hand-in that says that an attempt still runs (`docs/PROTOCOL.md`).
const STILL_RUNS: u8 = 3;
/// Connections that are remembered on each side.
const PEERS_MAX: usize = 7;
/// Room of the rings: they are full all the time.
const RING: usize = 8;
/// Hellos and registrations without an answer: as many as both rings hold, and those that wait for
/// a place of the worker table.
const AWAITED_MAX: usize = 2 * RING + 8;
/// Turns until everything must be over.
const TURNS_MAX: u32 = 200;

pub(super) struct Stage {
    dispatcher: Dispatcher<Bytes>,
    port: Port<Bytes>,
    sessions: Sessions<Bytes>,
    network: Network,
    now: Instant,
    clients: [Client; 2],
    workers: [Worker; 2],
    ledger: Ledger,
    secret: u64,
    boot: u64,
}

fn config() -> Config {
    Config {
        tasks: 16,
        clients: 4,
        workers: 5,
        labels: 1,
        ports: 1,
        slots_max: 3,
        prefetch_max: 2,
        mailbox: 4,
        pool: 4,
        quota: 8,
        payload_bytes: 120,
        result_bytes: 30,
        outcome_bytes_unread: 20,
        keep_outcomes_ms: 40,
        abort_grace_ms: 10,
        rejoin_grace_ms: 5,
        stall_grace_ms: 10,
        restart_grace_ms: 20,
        queue_ahead: 1,
        work_per_poll: 4,
        ..Config::default()
    }
}

type Controller = (Dispatcher<Bytes>, Port<Bytes>, Sessions<Bytes>);

fn controller(boot: u64, secret: u64) -> Controller {
    let parker = ThreadParker::new();
    let dispatcher = Dispatcher::new(config(), parker.unparker()).expect("a sane config");
    let mut dispatcher = dispatcher.with_ring_capacity(RING);
    let port = dispatcher.attach(parker.unparker()).expect("a first port");
    let mut options = SessionOptions::new(boot);
    options.peers_max = PEERS_MAX;
    options.payload_max = 12;
    options.ticket_key = u128::from(secret);
    (dispatcher, port, Sessions::new(options))
}

impl Stage {
    pub(super) fn new(secret: u64, fault: Option<Fault>) -> Self {
        let (dispatcher, port, sessions) = controller(BOOT, secret);
        let mut network = Network::new(fault);
        let mut place = |at_workers| {
            let place = network.connect(at_workers, false);
            network.at(place).up.push_back(Packet::probe());
            place
        };
        let key = u128::from(secret) << 8;
        let clients = [1, 2].map(|tag| Client::new(key + u128::from(tag), tag, place(false)));
        let workers = [0, 1].map(|name| Worker::new(name, secret + u64::from(name), place(true)));
        Self {
            dispatcher,
            port,
            sessions,
            network,
            now: Instant(1),
            clients,
            workers,
            ledger: Ledger::default(),
            secret,
            boot: BOOT,
        }
    }

    /// Lets the honest ones in, and two that are not on each side.
    pub(super) fn begin(&mut self) {
        (0..4).for_each(|_| self.turn());
        for at_workers in [true, false, true, false] {
            let place = self.network.connect(at_workers, true);
            self.push(place, Packet::probe());
        }
    }

    /// What holds after every operation.
    pub(super) fn check(&self) {
        let counts = self.sessions.counts();
        assert!(counts.client_peers <= PEERS_MAX, "{counts:?}");
        assert!(counts.worker_peers <= PEERS_MAX, "{counts:?}");
        assert!(counts.hellos_awaited <= AWAITED_MAX, "{counts:?}");
        assert!(counts.registrations_awaited <= AWAITED_MAX, "{counts:?}");
        assert!(counts.departures <= AWAITED_MAX, "{counts:?}");
        assert!(counts.questions <= AWAITED_MAX, "{counts:?}");
        assert!(
            counts.client_places <= config().clients as usize,
            "{counts:?}"
        );
        assert!(counts.seats <= config().workers as usize, "{counts:?}");
        for (number, starts) in &self.network.starts {
            let allowed = self.ledger.allowed.get(number);
            assert!(
                allowed.is_none_or(|most| starts <= most),
                "{number} was started {starts} times"
            );
        }
    }

    pub(super) fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Connect { at_workers, probed } => {
                // Sockets are what the transport bounds.
                if self.network.connections.len() < 24 {
                    let place = self.network.connect(at_workers, true);
                    if probed {
                        self.push(place, Packet::probe());
                    }
                }
            }
            Operation::Say(who, wording) => {
                if let Some(place) = self.hostile(who) {
                    let packet = self.word(&wording);
                    self.push(place, packet);
                }
            }
            Operation::Forge(who, forgery, attempt, shift) => {
                if let Some(place) = self.hostile_worker(who) {
                    let packet = self.forge(forgery, attempt, shift);
                    self.push(place, packet);
                }
            }
            Operation::Serve => self.serve(),
            Operation::Raw(who, len, bytes) => {
                if let Some(place) = self.hostile(who) {
                    let first = bytes[..usize::from(len) % (bytes.len() + 1)].to_vec();
                    let rest = Rest::Nothing;
                    self.push(place, Packet { first, rest });
                }
            }
            Operation::Probe(who) => {
                if let Some(place) = self.hostile(who) {
                    self.push(place, Packet::probe());
                }
            }
            Operation::Hangup(who) => {
                if let Some(place) = self.hostile(who) {
                    self.network.at(place).broken = true;
                }
            }
            Operation::Refuse { count, full } => {
                self.network.refusals = count % 8;
                self.network.refuse_with = if full {
                    SendError::Full
                } else {
                    SendError::Unreachable
                };
            }
            Operation::Read(pick) => {
                let ready = self.network.ready();
                if !ready.is_empty() {
                    self.read(ready[usize::from(pick.0) % ready.len()]);
                }
            }
            Operation::ReadAll => self.read_all(),
            Operation::Dispatch(times) => {
                (0..=times % 4).for_each(|_| self.dispatch());
            }
            Operation::Answer {
                replies,
                deliveries,
            } => self.answer(replies % 8, deliveries % 8),
            Operation::Restart => self.restart(),
            Operation::Pass(ms) => self.now = self.now.after_ms(u64::from(ms) / 4),
            of_honest => self.honest(of_honest),
        }
    }

    fn honest(&mut self, operation: Operation) {
        let Self {
            clients,
            workers,
            ledger,
            ..
        } = self;
        match operation {
            Operation::Submit {
                client,
                task,
                goal,
                attempts,
                within,
            } => {
                clients[usize::from(client)].submit(ledger, (task, goal, attempts, within));
            }
            Operation::Cancel { client, task } => clients[usize::from(client)].cancel(task),
            Operation::Hear(Pick(who)) => self.hear(usize::from(who % 4)),
            Operation::Tend(Pick(who)) => match usize::from(who % 4) {
                client @ 0..2 => clients[client].acknowledge(),
                worker => workers[worker - 2].tend(),
            },
            Operation::Report { worker, at, failed } => {
                workers[usize::from(worker)].report(ledger, at, failed);
            }
            Operation::Anew(Pick(who)) => match usize::from(who % 4) {
                client @ 0..2 => clients[client].anew(),
                worker => workers[worker - 2].anew(),
            },
            Operation::Break {
                who: Pick(who),
                arrive,
                kept,
                late,
            } => self.cut(usize::from(who % 4), (arrive % 4, kept % 4, late % 4)),
            other => unreachable!("not of an honest peer: {other:?}"),
        }
        self.speak();
    }

    /// What honest peers have said goes on their connections.
    fn speak(&mut self) {
        let clients = self.clients.iter_mut().map(|c| (c.place, &mut c.mouth));
        let workers = self.workers.iter_mut().map(|w| (w.place, &mut w.mouth));
        for (place, mouth) in clients.chain(workers) {
            self.network.at(place).up.extend(mouth.0.drain(..));
        }
    }

    fn place_of(&mut self, who: usize) -> &mut Place {
        match who {
            client @ 0..2 => &mut self.clients[client].place,
            worker => &mut self.workers[worker - 2].place,
        }
    }

    fn hear(&mut self, who: usize) {
        let place = *self.place_of(who);
        while let Some(packet) = self.network.at(place).down.pop_front() {
            match who {
                client @ 0..2 => self.clients[client].hear(&self.ledger, &packet),
                worker => self.workers[worker - 2].hear(&mut self.ledger, &packet),
            }
        }
    }

    fn cut(&mut self, who: usize, (arrive, kept, late): (u8, u8, u8)) {
        self.speak();
        let old = *self.place_of(who);
        let connection = self.network.at(old);
        connection.broken = true;
        let split = connection.up.len().saturating_sub(kept.into());
        let behind = connection.up.split_off(split);
        connection.up.truncate(arrive.into());
        connection.down.truncate(late.into());
        let late = core::mem::take(&mut connection.down);
        let new = self.network.connect(old.0, false);
        let connection = self.network.at(new);
        connection.up.push_back(Packet::probe());
        connection.up.extend(behind);
        connection.down = late;
        *self.place_of(who) = new;
    }

    /// Another controller in the place of this one: all connections are new, and nothing is known.
    fn restart(&mut self) {
        self.boot += 1;
        let (dispatcher, port, sessions) = controller(self.boot, self.secret);
        (self.port, self.dispatcher, self.sessions) = (port, dispatcher, sessions);
        (0..4).for_each(|who| self.cut(who, (0, 0, u8::MAX)));
        self.network
            .connections
            .retain(|_, connection| !connection.hostile && !connection.broken);
        self.network.seen.clear();
        self.ledger.forget_incarnations();
        self.now = Instant(1);
    }

    // ---- the shard ----

    fn push(&mut self, place: Place, packet: Packet) {
        let connection = self.network.at(place);
        // TCP slows down whoever is not read.
        if connection.up.len() < 16 {
            connection.up.push_back(packet);
        }
        if self.network.connections[&place].up.len() == 1 {
            self.read(place);
        }
    }

    fn read(&mut self, place: Place) {
        if !self.port.has_room(Sessions::<Bytes>::ROOM) {
            return;
        }
        let (side, peer) = (side_of(place.0), place.1);
        let connection = self.network.at(place);
        let (packet, broken) = (connection.up.pop_front(), connection.broken);
        let Self {
            sessions,
            port,
            network,
            ..
        } = self;
        if let Some(packet) = packet {
            let incoming = packet.incoming();
            sessions.handle_message(side, peer, &packet.first, incoming, port, network);
        } else if broken {
            network.connections.remove(&place);
            // Some losses are noticed after a stall of our own.
            let stalled = peer.0.is_multiple_of(4);
            sessions.note_stall(stalled);
            sessions.handle_peer_gone(side, peer, port);
        }
        port.flush();
    }

    fn read_all(&mut self) {
        for place in self.network.ready() {
            self.read(place);
        }
    }

    fn dispatch(&mut self) {
        self.now = Instant(self.now.0 + 50_000);
        self.dispatcher.run_once(self.now);
    }

    fn answer(&mut self, replies: u8, deliveries: u8) {
        let Self {
            sessions,
            port,
            network,
            ..
        } = self;
        for _ in 0..replies {
            let Some(reply) = port.poll_reply() else {
                break;
            };
            sessions.handle_reply(reply, port, network);
        }
        for _ in 0..deliveries {
            let Some(delivery) = port.poll_delivery() else {
                break;
            };
            sessions.handle_delivery(delivery, port, network);
        }
        while sessions.poll_log().is_some() {}
        sessions.settle(port);
        port.flush();
    }

    // ---- the end ----

    /// Whoever means harm goes, nothing is refused any more: then every honest task has its
    /// outcome, and nothing is left in the controller.
    pub(super) fn finish(mut self) -> (SessionStats, Stats) {
        self.network.refusals = 0;
        for connection in self.network.connections.values_mut() {
            connection.broken |= connection.hostile;
        }
        // A question that was refused is asked again on a new connection.
        (0..4).for_each(|who| self.cut(who, (u8::MAX, 0, u8::MAX)));
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.clients.iter().all(Client::is_done) && self.dispatcher.tasks() == 0 {
                self.check();
                return (self.sessions.stats(), *self.dispatcher.stats());
            }
        }
        let left = self.clients.iter().filter(|client| !client.is_done());
        assert_eq!(left.count(), 0, "clients wait for outcomes for ever");
        panic!("{} tasks are left", self.dispatcher.tasks());
    }

    fn serve(&mut self) {
        self.read_all();
        self.dispatch();
        self.answer(u8::MAX, u8::MAX);
    }

    fn turn(&mut self) {
        self.serve();
        for who in 0..4 {
            self.hear(who);
        }
        for worker in &mut self.workers {
            worker.tend();
            while worker.report(&mut self.ledger, 0, false) {}
            worker.retry();
        }
        for client in &mut self.clients {
            client.acknowledge();
            client.retry();
        }
        self.speak();
        self.now = self.now.after_ms(4);
    }

    // ---- what is said with bad intent ----

    fn hostile(&self, who: Pick) -> Option<Place> {
        let all = self.network.connections.iter();
        let mut hostile = all.filter(|(_, connection)| connection.hostile && !connection.broken);
        let count = hostile.clone().count();
        hostile
            .nth(usize::from(who.0) % count.max(1))
            .map(|(&place, _)| place)
    }

    fn hostile_worker(&self, who: Pick) -> Option<Place> {
        let first = self.hostile(who)?;
        if first.0 {
            return Some(first);
        }
        let mut all = self.network.connections.iter();
        let found = all.find(|(place, other)| place.0 && other.hostile && !other.broken);
        found.map(|(&place, _)| place)
    }

    fn forge(&self, forgery: Forgery, attempt: Pick, shift: u8) -> Packet {
        let kind = match forgery {
            Forgery::Result => Kind::Result,
            Forgery::HandIn | Forgery::StillRuns => Kind::HandIn,
            Forgery::Started => Kind::Started,
            Forgery::Revoked => Kind::Revoked,
        };
        let seen = self.seen(attempt, shift);
        let mut header = Header::new(kind);
        header.flags = Flags::HAS_WORKER;
        (header.worker, header.epoch) = (seen.worker, seen.epoch);
        (header.id, header.attempt) = (seen.id, seen.attempt);
        if self.network.fault == Some(Fault::Impostor) {
            let instance = self.secret + u64::from(shift % 2);
            (header.seq, header.ack) = (instance as u32, (instance >> 32) as u32);
        }
        if matches!(forgery, Forgery::StillRuns) {
            header.code = STILL_RUNS;
        }
        let head = Head::new(&header);
        let mut head = match forgery {
            Forgery::Result if shift % 4 < 3 => head,
            _ => head.boot(self.boot),
        };
        let lie = shift.is_multiple_of(2).then(|| honest::bytes_of(u64::MAX));
        Packet::new(&mut head, lie)
    }

    fn word(&self, wording: &Wording) -> Packet {
        let kind = kind_of(wording.kind);
        let seen = self.seen(wording.attempt, wording.shift);
        let mut header = Header::new(kind);
        header.flags = Flags::from_byte(wording.flags & 0xdc);
        (header.seq, header.ack) = (small(wording.seq), small(wording.ack));
        (header.worker, header.epoch) = (seen.worker, seen.epoch);
        header.attempt = seen.attempt;
        header.id = match kind {
            Kind::Submit | Kind::Cancel | Kind::Register => small(wording.id.0).into(),
            _ => seen.id,
        };
        header.code = wording.code % 9;
        header.extra = u16::from(wording.extra % 8);
        if kind == Kind::Register {
            (header.worker, header.epoch) = (small(wording.ack % 8), small(wording.shift % 8));
        }
        if kind == Kind::Control {
            return order_of(header, wording);
        }
        let mut head = Head::new(&header);
        if wording.flags & 1 != 0 || kind == Kind::Register {
            head = head.name(name_of(wording.name));
        }
        if wording.flags & 2 != 0 {
            head = head.deadlines(small(wording.extra), 0);
        }
        if wording.flags & 0x20 != 0 || kind == Kind::HandIn {
            head = head.boot(self.boot - u64::from(wording.shift == 255));
        }
        end_with(head, wording.tail)
    }

    /// An attempt that was seen, or one beside it, or any.
    fn seen(&self, pick: Pick, shift: u8) -> Seen {
        let seen = &self.network.seen;
        // The latest are the most likely to be out still.
        let back = usize::from(pick.0) % seen.len().max(1);
        let mut named = seen.iter().rev().nth(back).copied().unwrap_or_default();
        match shift {
            0..200 => {}
            200..210 => named.epoch = small(shift - 200),
            210..220 => named.worker = small(shift - 210),
            220..230 => named.attempt = shift - 220,
            230..240 => {
                named.id = named
                    .id
                    .wrapping_add(5)
                    .wrapping_sub(u64::from(shift) - 230);
            }
            _ => named.id = u64::MAX - u64::from(shift),
        }
        named
    }
}

/// An order of queue control about some client and some task, perhaps an honest one's.
fn order_of(mut header: Header, wording: &Wording) -> Packet {
    header.code = wording.code % 11;
    header.extra = u16::from(wording.extra % 11);
    let mut head = Head::new(&header);
    if wording.flags & 1 != 0 {
        head = head.name(name_of(wording.name));
    }
    let client = ClientId::new(u32::from(wording.seq % 4), u64::from(wording.ack % 8));
    let task = u64::from(wording.id.0 % 16);
    let mut body = [0; 24];
    body[..8].copy_from_slice(&client.to_bits().to_le_bytes());
    body[8..16].copy_from_slice(&task.to_le_bytes());
    Packet::new(&mut head.body(&body), None)
}

fn kind_of(byte: u8) -> Kind {
    use Kind::{
        Ack, Cancel, ClientHello, Goodbye, HandIn, Leave, Output, Ping, Pong, Register, Rejected,
        Result, Revoked, Started, Submit, Task,
    };
    const USUAL: [Kind; 16] = [
        ClientHello,
        Submit,
        Cancel,
        Goodbye,
        Register,
        Result,
        HandIn,
        Leave,
        Started,
        Revoked,
        Ack,
        Ping,
        Pong,
        Output,
        Task,
        Rejected,
    ];
    Kind::from_byte(byte.wrapping_sub(64)).unwrap_or(USUAL[usize::from(byte % 16)])
}

fn end_with(head: Head, tail: Tail) -> Packet {
    let (mut head, mut rest, mut cut) = (head, Rest::Nothing, 0);
    let mut body = Vec::new();
    match tail {
        Tail::Nothing => {}
        Tail::Key(key) => body = [key % 4; 16].to_vec(),
        Tail::Inline(len) => body = vec![len; usize::from(len % 20)],
        Tail::Frames(announced, len) => {
            head.set_frames(usize::from(announced % 3));
            rest = Rest::Frame(vec![len; usize::from(len % 17)].into_iter().collect());
        }
        Tail::Unusable(announced) => {
            head.set_frames(usize::from(announced % 65));
            rest = Rest::Unusable;
        }
        Tail::Cut(by) => cut = usize::from(by),
    }
    let mut first = [head.as_slice(), &body].concat();
    first.truncate(first.len().saturating_sub(cut).max(1));
    Packet { first, rest }
}

/// A small number, or one at an edge.
fn small(number: u8) -> u32 {
    match number {
        250.. => u32::MAX - u32::from(u8::MAX - number),
        _ => u32::from(number % 16),
    }
}
