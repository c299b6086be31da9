//! The machine's own limit: the thinnest forwarder over bare sockets.
//!
//! One `epoll` loop, messages of one fixed size, no header. What the client sends goes to the next
//! worker in turn, what a worker sends goes to the client. It is meant for one outstanding message:
//! it keeps no queue, and while a peer does not read, it waits.

use std::io::{ErrorKind, Read};

use mio::{Events, Interest, Poll, Token};

use super::serve;
use crate::error::Error;
use crate::messages::Endpoints;
use crate::socket::{Address, Listener, Stream};

const CLIENTS: Token = Token(0);
const WORKERS: Token = Token(1);
/// Streams have this token and those above it.
const STREAMS: usize = 2;
const CLIENT_GONE: &str = "the client has not attached yet";

/// One attached peer, and what has been read of a message that is not whole yet.
struct Peer {
    stream: Stream,
    is_client: bool,
    buffer: Vec<u8>,
    filled: usize,
}

struct Forwarder {
    poll: Poll,
    peers: Vec<Peer>,
    client: Option<usize>,
    workers: Vec<usize>,
    next_worker: usize,
    payload: usize,
}

/// Forwards until the process is ended.
pub(super) fn run(endpoints: &Endpoints, payload: u32) -> Result<(), Error> {
    let mut clients = Listener::bind(&Address::parse(&endpoints.clients)?)?;
    let mut workers = Listener::bind(&Address::parse(&endpoints.workers)?)?;
    let poll = Poll::new().map_err(Error::io("making an epoll"))?;
    let registry = poll.registry();
    for (listener, token) in [(&mut clients, CLIENTS), (&mut workers, WORKERS)] {
        registry
            .register(listener, token, Interest::READABLE)
            .map_err(Error::io("watching a listener"))?;
    }
    let endpoints = Endpoints {
        clients: clients.endpoint()?,
        workers: workers.endpoint()?,
        connection: None,
    };
    serve::say_ready_at(endpoints, None)?;
    serve::serve_in_background();
    let mut forwarder = Forwarder {
        poll,
        peers: Vec::new(),
        client: None,
        workers: Vec::new(),
        next_worker: 0,
        payload: payload as usize,
    };
    let mut events = Events::with_capacity(256);
    loop {
        forwarder
            .poll
            .poll(&mut events, None)
            .map_err(Error::io("waiting for messages"))?;
        for event in &events {
            match event.token() {
                CLIENTS => forwarder.accept(&clients, true)?,
                WORKERS => forwarder.accept(&workers, false)?,
                Token(stream) => forwarder.read(stream - STREAMS)?,
            }
        }
    }
}

impl Forwarder {
    fn accept(&mut self, listener: &Listener, is_client: bool) -> Result<(), Error> {
        while let Some(mut stream) = listener.accept()? {
            let place = self.peers.len();
            self.poll
                .registry()
                .register(&mut stream, Token(place + STREAMS), Interest::READABLE)
                .map_err(Error::io("watching a peer"))?;
            if is_client {
                self.client = Some(place);
            } else {
                self.workers.push(place);
            }
            let buffer = vec![0; self.payload];
            self.peers.push(Peer {
                stream,
                is_client,
                buffer,
                filled: 0,
            });
        }
        Ok(())
    }

    /// Reads a peer empty, and forwards each message as it becomes whole.
    fn read(&mut self, from: usize) -> Result<(), Error> {
        loop {
            let peer = &mut self.peers[from];
            match peer.stream.read(&mut peer.buffer[peer.filled..]) {
                // It left; the harness ends this process next.
                Ok(0) => return Ok(()),
                Ok(read) => peer.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Error::io("reading from a peer")(error)),
            }
            if peer.filled == self.payload {
                peer.filled = 0;
                let to = self.other_end(from)?;
                self.forward(from, to)?;
            }
        }
    }

    fn other_end(&mut self, from: usize) -> Result<usize, Error> {
        if !self.peers[from].is_client {
            return self.client.ok_or_else(|| Error::System(CLIENT_GONE.into()));
        }
        self.next_worker = (self.next_worker + 1) % self.workers.len().max(1);
        let worker = self.workers.get(self.next_worker).copied();
        worker.ok_or_else(|| Error::System("no worker has attached yet".into()))
    }

    fn forward(&mut self, from: usize, to: usize) -> Result<(), Error> {
        let [from, to] = self
            .peers
            .get_disjoint_mut([from, to])
            .map_err(|_| Error::System("a peer cannot be its own other end".into()))?;
        to.stream
            .send_all(&from.buffer)
            .map_err(Error::io("forwarding a message"))
    }
}
