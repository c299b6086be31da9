//! The transport: one thread, one poller, one port; any number of Unix-socket peers.
//!
//! It does what every transport does: bytes to events, replies and deliveries to bytes, and no
//! event without room for it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll};
use taskyard_core::{
    ClientHello, ClientId, Epoch, Labels, Outcome, Registration, Report, Submit, Target,
    TaskHandle, TaskId, Token, Verdict, WorkerId,
};
use taskyard_dispatcher::{Event, Port, Reply, Unpark, random_u64};

use crate::frame::{Bytes, FRAME_LEN, Frame, Kind};

const LISTENER: mio::Token = mio::Token(0);
const WAKER: mio::Token = mio::Token(1);
/// Events that one frame, or one lost peer, can cause at most.
const ROOM: usize = 2;

/// Ends the poller's sleep.
#[derive(Debug)]
struct PollUnpark(mio::Waker);

impl Unpark for PollUnpark {
    fn unpark(&self) {
        // A full eventfd counter fails, and wakes all the same.
        let _ = self.0.wake();
    }
}

/// Who a peer has turned out to be.
#[derive(Clone, Copy, Debug)]
enum Role {
    Unknown,
    Client(ClientId),
    Worker(WorkerId, Epoch),
}

#[derive(Debug)]
struct Peer {
    stream: UnixStream,
    role: Role,
    /// The frame that is coming in.
    input: [u8; FRAME_LEN],
    filled: usize,
    /// What the socket has not taken yet.
    output: Vec<u8>,
}

/// Bound, and not yet attached.
#[derive(Debug)]
pub(crate) struct UnixTransport {
    poll: Poll,
    listener: UnixListener,
    unpark: Arc<PollUnpark>,
    peers: HashMap<usize, Peer>,
    clients: HashMap<ClientId, usize>,
    workers: HashMap<WorkerId, usize>,
    next_peer: usize,
}

impl UnixTransport {
    pub(crate) fn bind(path: &std::path::Path) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = UnixListener::bind(path)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let unpark = Arc::new(PollUnpark(mio::Waker::new(poll.registry(), WAKER)?));
        let (peers, clients, workers) = Default::default();
        Ok(Self {
            poll,
            listener,
            unpark,
            peers,
            clients,
            workers,
            next_peer: 2,
        })
    }

    /// For [`Dispatcher::attach`](taskyard_dispatcher::Dispatcher::attach).
    pub(crate) fn unparker(&self) -> Arc<dyn Unpark> {
        self.unpark.clone()
    }

    /// Serves the port until told to stop.
    pub(crate) fn run(mut self, mut port: Port<Bytes>, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !stop.load(Ordering::Acquire) {
            self.accept()?;
            let peers: Vec<usize> = self.peers.keys().copied().collect();
            let mut read = 0;
            for peer in peers {
                read += self.read_peer(peer, &mut port);
            }
            port.flush();
            let sent = self.send_replies(&mut port) + self.send_deliveries(&mut port);
            if read + sent == 0 && port.prepare_sleep() {
                self.poll
                    .poll(&mut events, Some(Duration::from_millis(100)))?;
                port.woke();
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let id = self.next_peer;
            self.next_peer += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, mio::Token(id), interest)?;
            let (input, output) = ([0; FRAME_LEN], Vec::new());
            self.peers.insert(
                id,
                Peer {
                    stream,
                    role: Role::Unknown,
                    input,
                    filled: 0,
                    output,
                },
            );
        }
        Ok(())
    }

    /// Reads one peer until it has nothing more, or there is no room for what it says.
    fn read_peer(&mut self, id: usize, port: &mut Port<Bytes>) -> usize {
        let mut frames = 0;
        while port.has_room(ROOM)
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.write();
            match peer.read() {
                Ok(None) => break,
                Ok(Some(frame)) => self.handle(id, frame, port),
                Err(_) => self.drop_peer(id, port),
            }
            frames += 1;
        }
        frames
    }

    fn handle(&mut self, id: usize, frame: Frame, port: &mut Port<Bytes>) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let token = Token(id as u64);
        match (frame.kind, peer.role) {
            (Kind::Hello, Role::Unknown) => {
                let key = u128::from(random_u64());
                let hello = ClientHello {
                    key,
                    session: 1,
                    keep_outcomes: false,
                    token,
                };
                port.send(Event::ClientUp(hello));
            }
            (Kind::Register, Role::Unknown) => {
                let name = port.name_key(&String::from_utf8_lossy(&frame.payload));
                let instance = random_u64();
                let (number, slots, busy) = (1, 1, 0);
                port.send(Event::WorkerUp(Registration {
                    name,
                    instance,
                    number,
                    slots,
                    prefetch: 0,
                    busy,
                    labels: Labels::NONE,
                    token,
                }));
            }
            (Kind::Submit, Role::Client(client)) => {
                let submit = Submit::new(TaskId(frame.number), Target::Any);
                port.send(Event::Submit {
                    client,
                    submit,
                    payload: frame.payload,
                });
            }
            (Kind::Result, Role::Worker(worker, epoch)) => {
                let handle = TaskHandle::from_bits(frame.number);
                let attempt = taskyard_core::Attempt(frame.attempt);
                let verdict = Verdict::Completed;
                let report = Report {
                    worker,
                    epoch,
                    handle,
                    attempt,
                    verdict,
                };
                if !port.reported(report, Some(frame.payload)) {
                    self.drop_peer(id, port);
                }
            }
            // Out of turn: nobody can rely on a peer that says such things.
            _ => self.drop_peer(id, port),
        }
    }

    fn drop_peer(&mut self, id: usize, port: &mut Port<Bytes>) {
        match self.peers.remove(&id).map(|peer| peer.role) {
            Some(Role::Client(client)) => {
                self.clients.remove(&client);
                port.send(Event::Goodbye(client));
            }
            Some(Role::Worker(worker, epoch)) => {
                self.workers.remove(&worker);
                port.worker_down(worker, epoch, taskyard_core::Loss::Closed);
            }
            _ => {}
        }
    }

    fn send_replies(&mut self, port: &mut Port<Bytes>) -> usize {
        let mut count = 0;
        while let Some(reply) = port.poll_reply() {
            count += 1;
            match reply {
                Reply::Welcome { token, welcome } => {
                    self.clients.insert(welcome.client, token.0 as usize);
                    self.set_role(token, Role::Client(welcome.client));
                    self.send(Some(token.0 as usize), &Frame::new(Kind::Welcome, 0, b""));
                }
                Reply::Registered {
                    token,
                    worker,
                    epoch,
                    ..
                } => {
                    self.workers.insert(worker, token.0 as usize);
                    self.set_role(token, Role::Worker(worker, epoch));
                }
                Reply::Outcome { reply, payload } => {
                    let payload = payload.unwrap_or_default();
                    let mut frame = Frame::new(Kind::Outcome, reply.task.0, &payload);
                    frame.ok = reply.outcome == Outcome::Completed;
                    self.send(self.clients.get(&reply.client).copied(), &frame);
                }
                Reply::Evict { worker, epoch, .. } => {
                    port.worker_down(worker, epoch, taskyard_core::Loss::Closed);
                }
                // Nobody is asked to abort, and a refused peer sees its connection idle.
                _ => {}
            }
        }
        count
    }

    fn send_deliveries(&mut self, port: &mut Port<Bytes>) -> usize {
        let mut count = 0;
        while let Some(delivery) = port.poll_delivery() {
            let mut frame = Frame::new(Kind::Task, delivery.handle.to_bits(), &delivery.payload);
            frame.attempt = delivery.attempt.0;
            if !self.send(self.workers.get(&delivery.worker).copied(), &frame) {
                port.returned(&delivery);
            }
            count += 1;
        }
        port.flush();
        count
    }

    fn set_role(&mut self, token: Token, role: Role) {
        if let Some(peer) = self.peers.get_mut(&(token.0 as usize)) {
            peer.role = role;
        }
    }

    fn send(&mut self, peer: Option<usize>, frame: &Frame) -> bool {
        let Some(peer) = peer.and_then(|id| self.peers.get_mut(&id)) else {
            return false;
        };
        peer.output.extend_from_slice(&frame.encode());
        peer.write();
        true
    }
}

impl Peer {
    /// The next whole frame, nothing yet, or the end of this peer.
    fn read(&mut self) -> io::Result<Option<Frame>> {
        while self.filled < FRAME_LEN {
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.filled = 0;
        Frame::decode(&self.input)
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Writes what the socket takes. An error shows again at the next read, which ends the peer.
    fn write(&mut self) {
        while !self.output.is_empty()
            && let Ok(count @ 1..) = self.stream.write(&self.output)
        {
            self.output.drain(..count);
        }
    }
}
