//! Client and workers of the raw forwarder.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::serve;
use crate::error::Error;
use crate::link::{Answer, Link};
use crate::messages::{Ready, Report};
use crate::options::Topic;
use crate::socket::{Address, Stream};

/// A client that can have one task outstanding: the message carries its number.
struct RawLink {
    stream: Stream,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    filled: usize,
    next_task: u64,
}

/// Measures until the parent has no more commands.
pub(super) fn run_client(endpoint: &str, payload: u32) -> Result<(), Error> {
    let mut stream = Stream::connect(&Address::parse(endpoint)?)?;
    let poll = Poll::new().map_err(Error::io("making an epoll"))?;
    poll.registry()
        .register(&mut stream, Token(0), Interest::READABLE)
        .map_err(Error::io("watching the forwarder"))?;
    let link = RawLink {
        stream,
        poll,
        events: Events::with_capacity(1),
        buffer: vec![0; payload as usize],
        filled: 0,
        next_task: 0,
    };
    serve::say(&Report::Ready(Ready::default()))?;
    serve::serve_client(link)
}

impl Link for RawLink {
    fn submit(&mut self, _topic: Topic) -> Result<u64, Error> {
        let task = self.next_task;
        self.next_task += 1;
        let mut message = vec![0; self.buffer.len()];
        message[..8].copy_from_slice(&task.to_le_bytes());
        self.stream
            .send_all(&message)
            .map_err(Error::io("sending to the forwarder"))?;
        Ok(task)
    }

    fn poll(&mut self) -> Result<Option<Answer>, Error> {
        while self.filled < self.buffer.len() {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(Error::System("the forwarder has gone".into())),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Error::io("reading from the forwarder")(error)),
            }
        }
        self.filled = 0;
        let number = self.buffer[..8]
            .try_into()
            .expect("a message has eight bytes at least");
        Ok(Some(Answer::Completed {
            task: u64::from_le_bytes(number),
        }))
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                Err(Error::io("waiting for the forwarder")(error))
            }
            _ => Ok(()),
        }
    }
}

/// Echoes every message of every worker until the process is ended.
pub(super) fn run_workers(endpoint: &str, count: u32, payload: u32) -> Result<(), Error> {
    let address = Address::parse(endpoint)?;
    let mut poll = Poll::new().map_err(Error::io("making an epoll"))?;
    let mut workers = Vec::with_capacity(count as usize);
    for place in 0..count as usize {
        let mut stream = Stream::connect(&address)?;
        poll.registry()
            .register(&mut stream, Token(place), Interest::READABLE)
            .map_err(Error::io("watching the forwarder"))?;
        workers.push((stream, 0_usize, vec![0; payload as usize]));
    }
    serve::say(&Report::Ready(Ready::default()))?;
    serve::serve_in_background();
    let mut events = Events::with_capacity(256);
    loop {
        poll.poll(&mut events, None)
            .map_err(Error::io("waiting for messages"))?;
        for event in &events {
            let (stream, filled, buffer) = &mut workers[event.token().0];
            echo(stream, filled, buffer)?;
        }
    }
}

/// Reads a stream empty, and sends each message back as it becomes whole.
fn echo(stream: &mut Stream, filled: &mut usize, buffer: &mut [u8]) -> Result<(), Error> {
    loop {
        match stream.read(&mut buffer[*filled..]) {
            Ok(0) => return Err(Error::System("the forwarder has gone".into())),
            Ok(read) => *filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Error::io("reading from the forwarder")(error)),
        }
        if *filled == buffer.len() {
            *filled = 0;
            stream
                .send_all(buffer)
                .map_err(Error::io("answering the forwarder"))?;
        }
    }
}
