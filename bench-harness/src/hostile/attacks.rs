//! What is done to the controller, a burst at a time.

use std::io::Write;
use std::net::TcpStream;

use taskyard_protocol::wire::{Flags, Head, Header, Kind};
use taskyard_zmq::{Credentials, Role};

use crate::error::Error;
use crate::messages::Endpoints;
use crate::random::Random;
use crate::roles::credentials;

/// One way to do harm.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) burst: fn(&Victim, &mut State),
}

pub(super) const ATTACKS: [Attack; 8] = [
    Attack {
        name: "nothing: the same thread rests",
        burst: |_, _| {},
    },
    Attack {
        name: "strangers: garbage and half greetings",
        burst: strangers,
    },
    Attack {
        name: "strangers: connections that say nothing",
        burst: silent,
    },
    Attack {
        name: "clients that come and go",
        burst: come_and_go,
    },
    Attack {
        name: "a client that says anything",
        burst: garbage,
    },
    Attack {
        name: "a client that asks and never reads",
        burst: never_read,
    },
    Attack {
        name: "a client that submits what is refused",
        burst: refused,
    },
    Attack {
        name: "a worker that reports for others",
        burst: forge,
    },
];

/// Connections that an attack keeps open at most.
const OPEN_MAX: usize = 1_000;

/// Where the controller is, and how one comes in.
pub(super) struct Victim {
    endpoints: Endpoints,
    client: Credentials,
    worker: Credentials,
    zmq: zmq::Context,
}

/// What an attack keeps from burst to burst.
pub(super) struct State {
    streams: Vec<TcpStream>,
    peer: Option<zmq::Socket>,
    random: Random,
    number: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            peer: None,
            random: Random::new(7),
            number: 0,
        }
    }
}

impl Victim {
    pub(super) fn new(endpoints: &Endpoints) -> Result<Self, Error> {
        let folder = endpoints.connection.as_deref();
        Ok(Self {
            endpoints: endpoints.clone(),
            client: credentials(folder, Role::Client)?,
            worker: credentials(folder, Role::Worker)?,
            zmq: zmq::Context::new(),
        })
    }

    fn stranger(&self) -> Option<TcpStream> {
        let address = self.endpoints.clients.strip_prefix("tcp://")?;
        TcpStream::connect(address).ok()
    }

    /// A peer that was let in. It never waits: what does not leave is not said.
    fn peer(&self, role: Role) -> Option<zmq::Socket> {
        let socket = self.zmq.socket(zmq::DEALER).ok()?;
        socket.set_linger(0).ok()?;
        socket.set_rcvhwm(1).ok()?;
        let (endpoint, credentials) = match role {
            Role::Worker => (&self.endpoints.workers, &self.worker),
            _ => (&self.endpoints.clients, &self.client),
        };
        if let Credentials::Plain { role, key } = credentials {
            socket.set_plain_username(Some(role.name())).ok()?;
            socket.set_plain_password(Some(&key.to_text())).ok()?;
        }
        socket.connect(endpoint).ok()?;
        Some(socket)
    }
}

impl State {
    /// The one peer that an attack speaks through, with its first word said.
    fn speak(&mut self, victim: &Victim, role: Role, first: impl FnOnce() -> Vec<u8>) -> bool {
        if self.peer.is_none() {
            self.peer = victim.peer(role);
            self.say(first());
        }
        self.peer.is_some()
    }

    fn say(&mut self, message: Vec<u8>) {
        if let Some(peer) = &self.peer {
            // Where it does not leave, the controller has slowed us down: so be it.
            let _ = peer.send(message, zmq::DONTWAIT);
        }
    }

    fn next(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }
}

fn strangers(victim: &Victim, state: &mut State) {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    for _ in 0..5 {
        let Some(mut stream) = victim.stranger() else {
            return;
        };
        let cut = (state.random.next_u64() % 64) as usize;
        // It may be closed on us half way, which is as good.
        let _ = stream.write_all(&greeting[..cut]);
        let _ = stream.write_all(&state.random.next_u64().to_le_bytes());
    }
}

fn silent(victim: &Victim, state: &mut State) {
    for _ in 0..5 {
        state.streams.extend(victim.stranger());
    }
    if state.streams.len() > OPEN_MAX {
        state.streams.drain(..OPEN_MAX / 2);
    }
}

fn come_and_go(victim: &Victim, state: &mut State) {
    state.peer = None;
    let key = state.random.next_u64();
    let hello = || hello(u128::from(key));
    state.speak(victim, Role::Client, hello);
}

fn garbage(victim: &Victim, state: &mut State) {
    if !state.speak(victim, Role::Client, || hello(1)) {
        return;
    }
    for _ in 0..20 {
        let bytes = (0..8).flat_map(|_| state.random.next_u64().to_le_bytes());
        let mut bytes: Vec<u8> = bytes.collect();
        bytes[0] = (bytes[0] % 16).min(1);
        state.say(bytes);
    }
}

fn never_read(victim: &Victim, state: &mut State) {
    if state.speak(victim, Role::Client, || hello(2)) {
        for _ in 0..50 {
            state.say(Header::new(Kind::Ping).encode().to_vec());
        }
    }
}

fn refused(victim: &Victim, state: &mut State) {
    if !state.speak(victim, Role::Client, || hello(3)) {
        return;
    }
    for _ in 0..20 {
        let mut submit = Header::new(Kind::Submit);
        // To a worker that nobody has seen.
        (submit.seq, submit.code, submit.worker) = (state.next(), 1, 4_000);
        submit.id = submit.seq.into();
        state.say([&submit.encode()[..], &[1; 1024]].concat());
    }
}

fn forge(victim: &Victim, state: &mut State) {
    let register = || {
        let mut register = Header::new(Kind::Register);
        (register.seq, register.id, register.extra) = (1, 666, 1);
        Head::new(&register).name("thief").as_slice().to_vec()
    };
    if !state.speak(victim, Role::Worker, register) {
        return;
    }
    for _ in 0..20 {
        let number = state.next();
        let mut result = Header::new(Kind::Result);
        result.flags = Flags::HAS_WORKER;
        (result.seq, result.worker, result.epoch) = (number, number % 4, 1 + number % 8);
        (result.id, result.attempt) = (u64::from(number) << 24 | u64::from(number % 40), 1);
        state.say(result.encode().to_vec());
    }
}

fn hello(key: u128) -> Vec<u8> {
    let mut hello = Header::new(Kind::ClientHello);
    hello.seq = 1;
    let head = Head::new(&hello).body(&key.to_le_bytes());
    head.as_slice().to_vec()
}
