//! The `taskyard` program among peers that mean it harm: whatever they say, tasks of others
//! complete, and the controller stays alive and small.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use taskyard_core::{Outcome, Submit, Target, TaskHandle, TaskId};
use taskyard_protocol::Rejection;
use taskyard_protocol::wire::{Flags, Head, Header, Kind, Message};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, await_workers, let_in, next_outcome, submit,
};
use taskyard_zmq::{Context, ContextOptions, RemoteClient, Role, ZmqPayload};

/// Resident memory that the controller may have at the end: well above what it needs for its
/// tables, well below what an unbounded queue would take.
const RESIDENT_MAX_KIB: u64 = 256 << 10;
/// Honest tasks that are under way at a time.
const OUTSTANDING: usize = 16;
const HONEST: u32 = 4;

type Attack = fn(&ControllerProcess, &zmq::Context, &mut Random);

const ATTACKS: [Attack; 6] = [
    talk_no_zmtp,
    break_off_greetings,
    say_anything,
    report_for_others,
    come_and_go,
    never_listen,
];

#[test]
fn nobody_is_hurt_by_what_others_say() {
    for way in [["hosted", "1"], ["pinned", "1"], ["pinned", "2"]] {
        let [mode, shards] = way;
        let args = ["--mode", mode, "--shards", shards, "--tasks-max", "20000"];
        let mut controller = ControllerProcess::start(&args);
        let context = Context::new(ContextOptions::default()).expect("a context");
        let mut client = controller.client(&context);
        let _workers = controller.start_workers("honest", HONEST);
        await_workers(&mut client, HONEST);
        under_attack(&controller, &mut client);

        let ended = controller.process.0.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "the controller has ended");
        let resident = resident_kib(controller.process.0.id());
        assert!(resident < RESIDENT_MAX_KIB, "{resident} KiB are resident");
        // Whoever attacked has gone, and newcomers are served.
        await_workers(&mut client, HONEST);
        let mut newcomer = controller.client(&context);
        let task = newcomer.next_task_id();
        submit(&mut newcomer, Submit::new(task, Target::Any), "echo new");
        assert_eq!(next_outcome(&mut newcomer).frames, [b"new"]);
    }
}

#[test]
fn a_controller_out_of_descriptors_serves_whom_it_has() {
    let mut controller = ControllerProcess::start(&[]);
    let context = Context::new(ContextOptions::default()).expect("a context");
    let mut client = controller.client(&context);
    let _workers = controller.start_workers("honest", HONEST);
    await_workers(&mut client, HONEST);
    // It raised its own limit at its start: lower it again, to little more than it has open.
    let pid = controller.process.0.id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let limit = open.count() + 5;
    let limited = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={limit}")])
        .status();
    if !limited.is_ok_and(|status| status.success()) {
        eprintln!("not tested: there is no prlimit here");
        return;
    }
    // The system shakes hands with all of them; the controller can accept a few.
    let crowd: Vec<_> = (0..100)
        .map(|round| connect(endpoint(&controller, round)))
        .collect();
    for n in 0..200 {
        let task = TaskId(10_000 + n);
        submit(&mut client, Submit::new(task, Target::Any), "echo on");
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    drop(crowd);
    let mut newcomer = controller.client(&context);
    let task = newcomer.next_task_id();
    submit(&mut newcomer, Submit::new(task, Target::Any), "echo new");
    assert_eq!(next_outcome(&mut newcomer).frames, [b"new"]);
    let ended = controller.process.0.try_wait().expect("it can be asked");
    assert_eq!(ended, None, "the controller has ended");
}

/// More connections than there may be peers, each with a word: those beyond are turned away by
/// name, and whoever was there is served as before.
#[test]
fn a_flood_of_connections_is_turned_away_past_the_cap() {
    const FLOOD: usize = 300;
    let args = ["--clients-max", "4", "--workers-max", "8"];
    let controller = ControllerProcess::start(&args);
    let context = Context::new(ContextOptions::default()).expect("a context");
    let mut client = controller.client(&context);
    let _workers = controller.start_workers("honest", HONEST);
    await_workers(&mut client, HONEST);
    let zmq = zmq::Context::new();
    let (mut asked, mut turned_away) = (0, 0);
    let crowd: Vec<_> = (0..FLOOD)
        .map(|_| {
            let socket = connected(&zmq, &controller, 0);
            let answer = hear(&socket);
            match Message::decode(&answer).expect("a message").header {
                header if header.kind == Kind::WhoAreYou => asked += 1,
                header => {
                    let rejection = Rejection::from_code(header.code);
                    assert_eq!(
                        (header.kind, rejection),
                        (Kind::Rejected, Rejection::PeersFull)
                    );
                    turned_away += 1;
                }
            }
            socket
        })
        .collect();
    // Twice the peers, some to spare, and not one more.
    assert!(
        asked <= 2 * 8 + 64 && turned_away > 0,
        "{asked} {turned_away}"
    );
    let task = client.next_task_id();
    submit(&mut client, Submit::new(task, Target::Any), "echo here");
    assert_eq!(next_outcome(&mut client).frames, [b"here"]);
    assert!(resident_kib(controller.process.0.id()) < RESIDENT_MAX_KIB);
    drop(crowd);
}

/// Runs all attacks at once, and honest tasks until they are over.
fn under_attack(controller: &ControllerProcess, client: &mut RemoteClient) {
    let zmq = zmq::Context::new();
    thread::scope(|scope| {
        let zmq = &zmq;
        let attackers: Vec<_> = (1..)
            .zip(ATTACKS)
            .map(|(seed, attack)| scope.spawn(move || attack(controller, zmq, &mut Random(seed))))
            .collect();
        let mut expected = BTreeMap::new();
        let mut done = 0;
        while done < 500 || attackers.iter().any(|attacker| !attacker.is_finished()) {
            while expected.len() < OUTSTANDING {
                submit_honest(client, &mut expected);
            }
            let seen = next_outcome(client);
            let text = expected
                .remove(&seen.task)
                .expect("each task has one outcome");
            assert_eq!(
                (seen.outcome, seen.frames),
                (Outcome::Completed, vec![text])
            );
            done += 1;
        }
        while !expected.is_empty() {
            let seen = next_outcome(client);
            assert_eq!(seen.outcome, Outcome::Completed);
            assert!(expected.remove(&seen.task).is_some());
        }
    });
}

/// One task for one of the honest workers: any other might be an attacker's.
fn submit_honest(client: &mut RemoteClient, expected: &mut BTreeMap<TaskId, Vec<u8>>) {
    let task = client.next_task_id();
    let worker = format!("honest.{}", task.0 % u64::from(HONEST));
    let text = format!("honest {}", task.0);
    let payload = ZmqPayload::from_bytes(format!("echo {text}").as_bytes());
    client
        .submit(Submit::new(task, Target::Any), Some(&worker), payload)
        .expect("it is taken");
    expected.insert(task, text.into_bytes());
}

// ---- attacks ----

/// Bytes that are no ZMTP at all.
fn talk_no_zmtp(controller: &ControllerProcess, _: &zmq::Context, random: &mut Random) {
    let mut open = Vec::new();
    for round in 0..200 {
        let mut connection = connect(endpoint(controller, round));
        let garbage = random.bytes(300);
        // It may be closed on us half way, which is as good.
        let _ = connection.write_all(&garbage);
        if round % 4 == 0 {
            open.push(connection);
        }
    }
}

/// The start of a proper greeting, cut off anywhere, and what must not follow one.
fn break_off_greetings(controller: &ControllerProcess, _: &zmq::Context, random: &mut Random) {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    let mut open = Vec::new();
    for round in 0..200 {
        let mut connection = connect(endpoint(controller, round));
        let cut = random.below(greeting.len() + 1);
        let _ = connection.write_all(&greeting[..cut]);
        if cut == greeting.len() {
            let _ = connection.write_all(&random.bytes(100));
        }
        if round % 4 == 0 {
            open.push(connection);
        }
    }
}

/// Messages of all kinds, on all fields of which anything may stand.
fn say_anything(controller: &ControllerProcess, zmq: &zmq::Context, random: &mut Random) {
    for round in 0..40 {
        let socket = dealer(zmq, controller, round);
        for _ in 0..200 {
            say(&socket, random.message());
        }
        // What was said is read before the connection breaks.
        thread::sleep(Duration::from_millis(10));
    }
}

/// A worker that reports on attempts that others were given.
fn report_for_others(controller: &ControllerProcess, zmq: &zmq::Context, _: &mut Random) {
    let socket = dealer(zmq, controller, 1);
    let mut register = Header::new(Kind::Register);
    register.flags = Flags::NO_REDIRECT;
    (register.seq, register.id) = (1, 666);
    let head = Head::new(&register).name("thief");
    socket.send(head.as_slice(), 0).expect("it leaves");
    let registered = loop {
        let answer = hear(&socket);
        let message = Message::decode(&answer).expect("a message of the protocol");
        if message.header.kind == Kind::Registered {
            break message.boot;
        }
    };
    let boot = registered.expect("a registration names the boot");
    let mut seq = 0;
    for _ in 0..5 {
        for (worker, index) in (0..HONEST).flat_map(|w| (0..40).map(move |i| (w, i))) {
            for kind in [Kind::Result, Kind::HandIn] {
                seq += 1;
                let mut report = Header::new(kind);
                report.flags = Flags::HAS_WORKER;
                (report.seq, report.worker, report.epoch) = (seq, worker, 1 + index % 8);
                report.id = TaskHandle::new(index, u64::from(seq % 64)).to_bits();
                report.attempt = 1;
                let head = Head::new(&report).boot(boot).body(b"lies");
                socket.send(head.as_slice(), 0).expect("it leaves");
            }
        }
    }
}

/// Five hundred connections that say one thing, and go before they are answered.
fn come_and_go(controller: &ControllerProcess, zmq: &zmq::Context, random: &mut Random) {
    for round in 0..500 {
        let socket = dealer(zmq, controller, round);
        say(&socket, random.message());
    }
}

/// Asks for ever, and never reads an answer.
fn never_listen(controller: &ControllerProcess, zmq: &zmq::Context, _: &mut Random) {
    let sockets = [0, 1].map(|side| dealer(zmq, controller, side));
    let ping = Header::new(Kind::Ping).encode();
    for _ in 0..20_000 {
        for socket in &sockets {
            socket.send(&ping[..], 0).expect("it leaves");
        }
    }
}

// ---- what they are made with ----

fn endpoint(controller: &ControllerProcess, round: usize) -> &str {
    if round.is_multiple_of(2) {
        &controller.clients
    } else {
        &controller.workers
    }
}

fn connect(endpoint: &str) -> TcpStream {
    let address = endpoint.strip_prefix("tcp://").expect("a TCP endpoint");
    TcpStream::connect(address).expect("the controller accepts")
}

/// A socket of somebody who has a key, and abuses it.
fn connected(zmq: &zmq::Context, controller: &ControllerProcess, round: usize) -> zmq::Socket {
    let socket = zmq.socket(zmq::DEALER).expect("a socket");
    let patience = i32::try_from(PATIENCE.as_millis()).expect("a minute");
    socket.set_linger(100).expect("an option");
    socket.set_rcvtimeo(patience).expect("an option");
    socket.set_sndtimeo(patience).expect("an option");
    socket.set_probe_router(true).expect("an option");
    let role = if round.is_multiple_of(2) {
        Role::Client
    } else {
        Role::Worker
    };
    let_in(&socket, &controller.connection, role);
    socket
        .connect(endpoint(controller, round))
        .expect("an endpoint");
    socket
}

fn dealer(zmq: &zmq::Context, controller: &ControllerProcess, round: usize) -> zmq::Socket {
    let socket = connected(zmq, controller, round);
    let question = hear(&socket);
    let question = Message::decode(&question).expect("a message of the protocol");
    assert_eq!(question.header.kind, Kind::WhoAreYou);
    socket
}

fn say(socket: &zmq::Socket, frames: Vec<Vec<u8>>) {
    let last = frames.len() - 1;
    for (at, frame) in frames.into_iter().enumerate() {
        let more = if at < last { zmq::SNDMORE } else { 0 };
        socket.send(frame, more).expect("it leaves");
    }
}

fn hear(socket: &zmq::Socket) -> zmq::Message {
    let mut frame = zmq::Message::new();
    socket.recv(&mut frame, 0).expect("an answer");
    frame
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .expect("a number of KiB")
        .parse()
        .expect("a number of KiB")
}

/// Xorshift: the same attacks in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound
    }

    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// A number as a program that errs or lies would give: small, or at an edge, or any.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next(),
            1 => [u64::MAX, u64::from(u32::MAX), 1 << 31, 1 << 24][self.below(4)],
            _ => self.next() % 8,
        }
    }

    fn header(&mut self) -> [u8; 32] {
        // Half of all numbers are kinds of the protocol; so many others are none.
        let kind = Kind::from_byte(self.next() as u8 & 0x47).unwrap_or(Kind::Submit);
        let mut header = Header::new(kind);
        (header.seq, header.ack) = (self.number() as u32, self.number() as u32);
        (header.worker, header.epoch) = (self.number() as u32, self.number() as u32);
        header.id = self.number();
        (header.attempt, header.code) = (self.number() as u8, self.number() as u8);
        header.extra = self.number() as u16;
        header.flags = match self.below(3) {
            0 => Flags::from_byte(self.next() as u8),
            1 => Flags::NAMED,
            _ => Flags::NONE,
        };
        let mut bytes = header.encode();
        bytes[3] = [0, 0, 0, 1, 2, 64, 65, 255][self.below(8)];
        match self.below(16) {
            0 => bytes[0] = self.next() as u8,
            1 => bytes[1] = self.next() as u8,
            _ => {}
        }
        bytes
    }

    fn message(&mut self) -> Vec<Vec<u8>> {
        let mut first = self.header().to_vec();
        match self.below(6) {
            0 => first = self.bytes(100),
            1 => first.truncate(self.below(33)),
            // A client's key: one of few, so that the client table is not full of them.
            2 => first.extend([self.below(8) as u8; 16]),
            3 => {
                first.push(255);
                first.extend([b'n'; 255]);
            }
            4 => first.extend([3, 0xff, 0xfe, 0xfd]),
            _ => first.extend(self.bytes(100)),
        }
        let rest = [0, 0, 0, 1, 2, 64, 65, 70][self.below(8)];
        let mut frames = vec![first];
        frames.extend((0..rest).map(|_| self.bytes(20)));
        frames
    }
}
