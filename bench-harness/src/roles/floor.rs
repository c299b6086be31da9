//! The thinnest forwarder over libzmq: what any controller must cost that speaks this protocol.
//!
//! Two ROUTER sockets with the options of a real shard, one blocking `zmq_poll`. A submit becomes a
//! task, a result an outcome, by patching the 32-byte header where libzmq has it; that very message
//! is sent on. No queue, no scheduling, no check: `any` is whoever is next. It serves one client.

use taskyard_protocol::wire::{Flags, Head, Header, Kind};
use zmq::{DONTWAIT, Error as ZmqError, Message, POLLIN, SNDMORE, Socket, SocketType};

use super::serve;
use crate::error::Error;
use crate::messages::Endpoints;

/// A message, the peer's routing id first.
type Frames = Vec<Message>;

struct Floor {
    clients: Socket,
    workers: Socket,
    client: Message,
    /// Outcomes sent to the client, and submits received from it.
    sent: u32,
    seen: u32,
    /// Routing id of each worker, and the last of its results.
    table: Vec<(Message, u32)>,
    next: usize,
    /// The multicast that is out: its task, and answers still to come.
    multicast: (u64, u32),
}

/// Forwards until the process is ended.
pub(super) fn run(endpoints: &Endpoints) -> Result<(), Error> {
    let context = zmq::Context::new();
    let (clients, at_clients) = bind(&context, &endpoints.clients, 1000).map_err(Error::system)?;
    let (workers, at_workers) = bind(&context, &endpoints.workers, 0).map_err(Error::system)?;
    let endpoints = Endpoints {
        clients: at_clients,
        workers: at_workers,
        connection: None,
    };
    serve::say_ready_at(endpoints, None)?;
    serve::serve_in_background();
    let mut floor = Floor {
        clients,
        workers,
        client: Message::new(),
        sent: 0,
        seen: 0,
        table: Vec::new(),
        next: 0,
        multicast: (0, 0),
    };
    floor.forward().map_err(Error::system)
}

fn bind(context: &zmq::Context, at: &str, rcvhwm: i32) -> Result<(Socket, String), ZmqError> {
    let socket = context.socket(SocketType::ROUTER)?;
    socket.set_router_mandatory(true)?;
    socket.set_backlog(4096)?;
    socket.set_ipv6(true)?;
    socket.set_sndhwm(0)?;
    socket.set_rcvhwm(rcvhwm)?;
    // As the controller does by default.
    socket.set_heartbeat_ivl(2_000)?;
    socket.set_heartbeat_timeout(4_000)?;
    socket.bind(at)?;
    let at = socket.get_last_endpoint()?.unwrap_or_default();
    Ok((socket, at))
}

impl Floor {
    fn forward(&mut self) -> Result<(), ZmqError> {
        let mut frames = Vec::with_capacity(66);
        loop {
            let (clients, workers) = (&self.clients, &self.workers);
            let items = [clients, workers].map(|socket| socket.as_poll_item(POLLIN));
            zmq::poll(&mut { items }, -1)?;
            while receive(&self.clients, &mut frames)? {
                self.handle_client(&mut frames)?;
            }
            while receive(&self.workers, &mut frames)? {
                self.handle_worker(&mut frames)?;
            }
        }
    }

    fn handle_client(&mut self, frames: &mut Frames) -> Result<(), ZmqError> {
        let Ok((mut header, _)) = Header::decode(&frames[1]) else {
            return say(&self.clients, &frames[0], Header::new(Kind::WhoAreYou));
        };
        if header.kind == Kind::ClientHello {
            self.client = frames.swap_remove(0);
            (header.kind, header.ack, header.epoch) = (Kind::Welcome, header.seq, 1 << 20);
            header.seq = 0; // The largest payload: not told.
            return say(&self.clients, &self.client, header);
        } else if header.kind != Kind::Submit {
            return Ok(());
        }
        self.seen = header.seq;
        (header.kind, header.flags, header.seq, header.attempt) = (Kind::Task, Flags::NONE, 0, 1);
        match header.code {
            1 => self.task(header.worker as usize, header, frames),
            3 => {
                self.multicast = (header.id, self.table.len() as u32);
                (0..self.table.len()).try_for_each(|to| {
                    let copies = frames.iter().map(|frame| Message::from(&frame[..]));
                    self.task(to, header, &mut copies.collect())
                })
            }
            _ => {
                self.next = (self.next + 1) % self.table.len().max(1);
                self.task(self.next, header, frames)
            }
        }
    }

    fn task(&self, to: usize, mut header: Header, frames: &mut Frames) -> Result<(), ZmqError> {
        (header.worker, header.epoch, header.ack) = (to as u32, to as u32 + 1, self.table[to].1);
        relay(&self.workers, &self.table[to].0, header, frames)
    }

    fn handle_worker(&mut self, frames: &mut Frames) -> Result<(), ZmqError> {
        let Ok((mut header, _)) = Header::decode(&frames[1]) else {
            return say(&self.workers, &frames[0], Header::new(Kind::WhoAreYou));
        };
        if header.kind == Kind::Register {
            (header.kind, header.id, header.seq) = (Kind::Registered, header.seq.into(), 0);
            (header.worker, header.epoch) = (self.table.len() as u32, self.table.len() as u32 + 1);
            say(&self.workers, &frames[0], header)?;
            self.table.push((frames.swap_remove(0), 0));
        }
        if header.kind != Kind::Result {
            return Ok(());
        }
        self.table[header.worker as usize].1 = header.seq;
        self.sent += 1;
        (header.kind, header.seq, header.ack) = (Kind::Outcome, self.sent, self.seen);
        header.flags = Flags::HAS_WORKER;
        if self.multicast.0 != header.id || self.multicast.1 == 0 {
            return relay(&self.clients, &self.client, header, frames);
        }
        header.flags = header.flags.with(Flags::PART);
        relay(&self.clients, &self.client, header, frames)?;
        self.multicast.1 -= 1;
        if self.multicast.1 == 0 {
            self.sent += 1;
            (header.seq, header.code, header.worker) = (self.sent, 6, self.table.len() as u32);
            header.epoch = header.worker;
            say(&self.clients, &self.client, header)?;
        }
        Ok(())
    }
}

/// Takes one message whole, the peer's id first.
fn receive(from: &Socket, frames: &mut Frames) -> Result<bool, ZmqError> {
    frames.clear();
    while frames.last().is_none_or(Message::get_more) {
        match from.recv_msg(DONTWAIT) {
            Ok(frame) => frames.push(frame),
            Err(ZmqError::EAGAIN) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Sends a message on, under a header that is patched in place.
fn relay(to: &Socket, id: &Message, header: Header, rest: &mut Frames) -> Result<(), ZmqError> {
    header.patch(&mut rest[1]).expect("it has a header");
    to.send(&id[..], SNDMORE)?;
    let last = rest.len() - 2;
    let mut frames = rest.drain(1..).enumerate();
    frames.try_for_each(|(at, frame)| to.send(frame, if at < last { SNDMORE } else { 0 }))
}

fn say(to: &Socket, id: &Message, mut header: Header) -> Result<(), ZmqError> {
    (header.flags, header.frames) = (Flags::NONE, 0);
    to.send(&id[..], SNDMORE)?;
    to.send(Head::new(&header).boot(1).as_slice(), 0)
}
