//! The connection of one remote peer: a DEALER socket that reconnects by itself.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use taskyard_protocol::remote::{ClientEvent, ClientState, WorkerEvent, WorkerState};
use taskyard_protocol::wire::{Head, WireError};
use taskyard_protocol::{Incoming, SendError, Wire};

use crate::message::ZmqPayload;
use crate::multipart::{self, Inbox};
use crate::sys::{Context, SendRefused, Socket};
use crate::{Credentials, Endpoint, Error};

const RECONNECT_MS: i32 = 100;
const RECONNECT_MAX_MS: i32 = 1_000;
/// A goodbye, or a last result, may still leave after the socket is closed.
const LINGER_MS: i32 = 200;

/// A connection to a controller.
#[derive(Debug)]
pub(super) struct Link {
    inbox: Inbox,
    wire: LinkWire,
    /// When the controller last said something.
    heard: Option<Instant>,
}

/// What is known of a controller, by what has come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerLiveness {
    /// Whether there is a connection to it now. Its heartbeats watch over that: it ends when the
    /// controller has been silent for four of their timeouts.
    pub alive: bool,
    /// How long ago it last said something to this peer; `None`: never so far.
    pub age: Option<Duration>,
}

/// The way out.
#[derive(Debug)]
pub(super) struct LinkWire {
    socket: Socket,
    /// The last call on the socket was not a receive that found nothing, so its descriptor is
    /// silent.
    stirred: bool,
}

/// What is said over a link, and what is kept for when it breaks.
pub(super) trait Conversation {
    type Event;

    fn handle_message(
        &mut self,
        first: &[u8],
        incoming: Incoming<ZmqPayload>,
        wire: &mut LinkWire,
    ) -> Result<Option<Self::Event>, WireError>;

    fn pump(&mut self, wire: &mut LinkWire);
}

impl Link {
    /// Starts to connect; does not wait.
    ///
    /// Each connection begins with an empty message of libzmq's own, which the controller answers
    /// by asking who we are. That holds for a *re*connection only with `ZMQ_IMMEDIATE`: then the
    /// pipe dies with the connection, a new one is made with the next, and nothing said to the old
    /// one turns up in it. What is sent in between is refused, and the conversation keeps it.
    pub(super) fn connect(
        context: &Context,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        let socket = context.socket(zmq::SocketType::DEALER)?;
        set_options(&socket).map_err(|error| Error::zmq("setting up a connection", error))?;
        credentials.show(&socket)?;
        endpoint.connect(&socket)?;
        Ok(Self {
            inbox: Inbox::new(),
            wire: LinkWire {
                socket,
                stirred: true,
            },
            heard: None,
        })
    }

    /// The way out.
    pub(super) fn wire(&mut self) -> &mut LinkWire {
        &mut self.wire
    }

    /// The descriptor to poll for readable. It has edges only: see `Socket::fd`.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wire.socket.fd()
    }

    /// Whether it must be polled before anyone sleeps on the descriptor.
    pub(super) fn is_stirred(&self) -> bool {
        self.wire.stirred
    }

    /// The next event of the conversation, if there is one now.
    pub(super) fn poll<C: Conversation>(
        &mut self,
        conversation: &mut C,
    ) -> Result<Option<C::Event>, Error> {
        let Self { inbox, wire, heard } = self;
        let mut pumped = false;
        loop {
            wire.stirred = inbox.recv(&mut wire.socket)?;
            if wire.stirred {
                *heard = Some(Instant::now());
                let incoming = incoming(inbox);
                let event = conversation.handle_message(inbox.first.bytes(), incoming, wire)?;
                if event.is_some() {
                    return Ok(event);
                }
            } else if pumped {
                return Ok(None);
            } else {
                // What the connection refused may leave now; whatever is tried stirs it.
                pumped = true;
                conversation.pump(wire);
                if !wire.stirred {
                    return Ok(None);
                }
            }
        }
    }

    /// Whether there is a connection now. Asking stirs the link.
    pub(super) fn is_connected(&mut self) -> Result<bool, Error> {
        self.wire.stirred = true;
        // With `ZMQ_IMMEDIATE` a socket without a connection takes nothing.
        let events = self.wire.socket.options().get_events();
        let events = events.map_err(|error| Error::zmq("looking at a connection", error))?;
        Ok(events.contains(zmq::POLLOUT))
    }

    /// Whether the controller is there, from what is known. Asking stirs the link.
    pub(super) fn controller_alive(&mut self) -> Result<ControllerLiveness, Error> {
        Ok(ControllerLiveness {
            alive: self.is_connected()?,
            age: self.heard.map(|heard| heard.elapsed()),
        })
    }

    /// Waits until there may be something to poll, at most until `due`. Not while it is stirred.
    pub(super) fn wait(&self, due: Instant) -> Result<(), Error> {
        let left = due.saturating_duration_since(Instant::now());
        // A time that no timer can express never comes.
        let timeout = Timespec::try_from(left).ok();
        match poll(
            &mut [PollFd::new(&self.fd(), PollFlags::IN)],
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::os("waiting for a message", &error.into())),
        }
    }
}

impl Wire<ZmqPayload> for LinkWire {
    fn send(&mut self, head: &mut Head, payload: Option<ZmqPayload>) -> Result<(), SendError> {
        self.stirred = true;
        // Without a limit of its own and with ZMQ_IMMEDIATE, a DEALER refuses a message for one
        // reason only: there is no connection.
        let sent = multipart::send(&mut self.socket, head, payload.as_ref());
        sent.map_err(|_: SendRefused| SendError::Unreachable)
    }
}

impl Conversation for ClientState<ZmqPayload> {
    type Event = ClientEvent<ZmqPayload>;

    fn handle_message(
        &mut self,
        first: &[u8],
        incoming: Incoming<ZmqPayload>,
        wire: &mut LinkWire,
    ) -> Result<Option<Self::Event>, WireError> {
        Self::handle_message(self, first, incoming, wire)
    }

    fn pump(&mut self, wire: &mut LinkWire) {
        // What is left waits for the next connection, which begins with a message for us.
        let _all_sent = Self::pump(self, wire);
    }
}

impl Conversation for WorkerState<ZmqPayload> {
    type Event = WorkerEvent<ZmqPayload>;

    fn handle_message(
        &mut self,
        first: &[u8],
        incoming: Incoming<ZmqPayload>,
        wire: &mut LinkWire,
    ) -> Result<Option<Self::Event>, WireError> {
        Self::handle_message(self, first, incoming, wire)
    }

    fn pump(&mut self, wire: &mut LinkWire) {
        // As for a client.
        let _all_sent = Self::pump(self, wire);
    }
}

/// What came behind the first frame.
fn incoming(inbox: &mut Inbox) -> Incoming<ZmqPayload> {
    if inbox.rest.is_empty() {
        return Incoming::Alone;
    }
    ZmqPayload::from_received(&mut inbox.rest).map_or(Incoming::Unusable, Incoming::Frames)
}

fn set_options(socket: &Socket) -> Result<(), zmq::Error> {
    let socket = socket.options();
    socket.set_probe_router(true)?;
    socket.set_immediate(true)?;
    socket.set_reconnect_ivl(RECONNECT_MS)?;
    socket.set_reconnect_ivl_max(RECONNECT_MAX_MS)?;
    socket.set_linger(LINGER_MS)?;
    // Windows and quotas bound both ways; a bound of libzmq's own would only refuse what they
    // allow.
    socket.set_sndhwm(0)?;
    socket.set_rcvhwm(0)
}
