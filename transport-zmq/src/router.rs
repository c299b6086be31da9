//! One listening ROUTER socket: its messages, its connections, and its losses.
//!
//! A loss shows in up to three ways: in-band as a notice (where libzmq has the draft API), at the
//! monitor, or when a message to the peer is refused. The notice is best: it comes behind
//! everything that the peer has sent. It is missing in a stock build, so the monitor is always
//! attached; what it says is held back until what lay unread is read. Whichever comes first
//! decides, the others find the peer unknown.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use taskyard_protocol::wire::{Head, Header, Kind};
use taskyard_protocol::{PeerKey, Rejection, SendError, Side};

use crate::limits::HEAD_ROOM;
use crate::message::ZmqPayload;
use crate::monitor::{Monitor, Seen};
use crate::multipart::{self, Inbox};
use crate::peers::{ID_LEN, Peers, id_of, key_of};
use crate::probe::enable_router_notify;
use crate::security::{Refusals, Role};
use crate::shard::ShardOptions;
use crate::sys::{Context, Frame, SendRefused, Socket};
use crate::{Endpoint, Error};

/// Connections that the system may hold for us before we accept them: a thousand workers connect at
/// once.
const BACKLOG: i32 = 4096;
/// How long a closing socket tries to send what it has.
const LINGER_MS: i32 = 200;
/// How long a connection may take to shake hands before it is closed.
const HANDSHAKE_MS: i32 = 5_000;

/// From the monitor's word to the verdict: time for what the I/O thread had read already to reach
/// us.
const SUSPECT_GRACE: Duration = Duration::from_millis(1);
/// The same where a notice will come: the monitor is only the second source.
const NOTICE_GRACE: Duration = Duration::from_millis(50);

/// What [`Router::recv`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message of this peer.
    Message(PeerKey),
    /// Something that was dealt with.
    Handled,
    /// Nothing: the descriptor will tell when there is more.
    Nothing,
}

/// What one endpoint has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterStats {
    /// Messages received.
    pub received: u64,
    /// Messages handed to libzmq.
    pub sent: u64,
    /// Messages that a peer could not be sent: it was gone.
    pub unreachable: u64,
    /// Messages of peers that brought a routing id of their own, which is not allowed.
    pub chosen_ids: u64,
    /// Connections lost.
    pub lost: u64,
    /// Connections that have said something and are not gone: now, not so far.
    pub connected: u64,
    /// Connections that were not let in: no key, a wrong one, or none of our protocol's.
    pub auth_failed: u64,
}

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Router {
    /// Before the socket that it watches: fields are dropped in this order.
    monitor: Monitor,
    socket: Socket,
    id: Frame,
    peers: Peers,
    /// Connections that are gone, to be told to the sessions.
    lost: VecDeque<PeerKey>,
    grace: Duration,
    /// The last call on the socket was not a receive that found nothing, so its descriptor is
    /// silent and it must be received from before anyone sleeps.
    stirred: bool,
    side: Side,
    endpoint: Endpoint,
    refusals: Refusals,
    stats: RouterStats,
}

impl Router {
    /// Listens on `endpoint`.
    pub(crate) fn bind(
        context: &Context,
        side: Side,
        endpoint: &Endpoint,
        options: &ShardOptions,
    ) -> Result<Self, Error> {
        let mut socket = context.socket(zmq::SocketType::ROUTER)?;
        set_options(&socket, side, options).map_err(|error| Error::zmq("setting up", error))?;
        let guarded = options.security.guard(&mut socket, side);
        guarded.map_err(|error| Error::zmq("setting up security", error))?;
        let grace = if enable_router_notify(&mut socket) {
            NOTICE_GRACE
        } else {
            SUSPECT_GRACE
        };
        Self::listen(context, socket, side, endpoint, grace)
    }

    fn listen(
        context: &Context,
        socket: Socket,
        side: Side,
        endpoint: &Endpoint,
        grace: Duration,
    ) -> Result<Self, Error> {
        let monitor = Monitor::attach(context, &socket)?;
        let endpoint = endpoint.bind(&socket)?;
        let mut router = Self {
            monitor,
            socket,
            id: Frame::new(),
            peers: Peers::default(),
            lost: VecDeque::new(),
            grace,
            stirred: true,
            side,
            endpoint,
            refusals: Refusals::default(),
            stats: RouterStats::default(),
        };
        // A descriptor is silent until somebody has found nothing; and those who are not let in
        // never say anything that would have it read.
        router.read_monitor()?;
        Ok(router)
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The descriptors to poll: the socket's, and its monitor's.
    pub(crate) fn fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.socket.fd(), self.monitor.fd())
    }

    pub(crate) fn stats(&self) -> RouterStats {
        RouterStats {
            connected: self.peers.len() as u64,
            auth_failed: self.refusals.count(),
            ..self.stats
        }
    }

    /// Notes that the descriptor has spoken.
    pub(crate) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Whether it must be received from before anyone sleeps.
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred
    }

    /// Receives one message into `inbox`.
    pub(crate) fn recv(&mut self, inbox: &mut Inbox) -> Result<Received, Error> {
        self.stirred = self.socket.recv(&mut self.id)?;
        if !self.stirred {
            // All that suspects had sent is read. Under load this may be the only such moment:
            // whatever is sent next stirs the socket again.
            self.judge_suspects();
            return Ok(Received::Nothing);
        }
        if !inbox.recv(&mut self.socket)? {
            return Ok(Received::Nothing);
        }
        self.stats.received += 1;
        let Some(key) = key_of(self.id.bytes()) else {
            self.reject_chosen_id();
            return Ok(Received::Handled);
        };
        if is_notice(inbox) {
            self.lose(key);
            return Ok(Received::Handled);
        }
        if !self.peers.knows(key) {
            // First what the monitor has to say about the descriptor's last owner.
            self.read_monitor()?;
            self.peers
                .insert(key, inbox.first.source_fd(), Instant::now() + self.grace);
            if inbox.first.user_id() == Some(Role::Operator.name().as_bytes()) {
                self.peers.note_operator(key);
            }
            let (role, endpoint) = (self.role(key), &self.endpoint);
            tracing::debug!(?key, %role, %endpoint, "a peer is here");
        }
        Ok(Received::Message(key))
    }

    /// A routing id that the peer chose may be another's tomorrow, and a worker that comes back
    /// before its loss is noticed would be mute. So nobody brings one.
    fn reject_chosen_id(&mut self) {
        self.stats.chosen_ids += 1;
        let mut header = Header::new(Kind::Rejected);
        header.code = Rejection::Malformed.to_code();
        if self.socket.send_bytes(self.id.bytes(), true).is_ok() {
            // If it does not arrive, the peer is gone, and nothing here knows it.
            let _ = self.socket.send_bytes(Head::new(&header).as_slice(), false);
        }
    }

    /// What a peer may do.
    pub(crate) fn role(&self, key: PeerKey) -> Role {
        if self.peers.is_operator(key) {
            Role::Operator
        } else {
            Role::usual_at(self.side)
        }
    }

    /// Sends one message, or refuses it whole.
    pub(crate) fn send(
        &mut self,
        key: PeerKey,
        head: &mut Head,
        payload: Option<&ZmqPayload>,
    ) -> Result<(), SendError> {
        self.stirred = true;
        let id: [u8; ID_LEN] = id_of(key);
        let sent = self
            .socket
            .send_bytes(&id, true)
            .and_then(|()| multipart::send(&mut self.socket, head, payload));
        match sent {
            Ok(()) => {
                self.stats.sent += 1;
                Ok(())
            }
            Err(SendRefused::Full) => Err(SendError::Full),
            Err(SendRefused::Unreachable) => {
                self.stats.unreachable += 1;
                self.lose(key);
                Err(SendError::Unreachable)
            }
        }
    }

    /// Forgets a connection that the sessions have given up. libzmq cannot close a single one.
    pub(crate) fn forget(&mut self, key: PeerKey) {
        self.peers.remove(key);
    }

    /// Reads the monitor to its end.
    pub(crate) fn read_monitor(&mut self) -> Result<(), Error> {
        while let Some(seen) = self.monitor.poll()? {
            match seen {
                Seen::Disconnected(fd) => self.peers.suspect(fd, Instant::now() + self.grace),
                Seen::HandshakeFailed => self.refusals.add(&self.endpoint),
            }
        }
        Ok(())
    }

    /// A connection that is gone; each is told once.
    pub(crate) fn poll_lost(&mut self) -> Option<PeerKey> {
        if !self.stirred {
            self.judge_suspects();
        }
        self.lost.pop_front()
    }

    /// Only when there is nothing left to receive: then what suspects had sent has been read.
    fn judge_suspects(&mut self) {
        if !self.peers.has_suspects() {
            return;
        }
        let now = Instant::now();
        while let Some(suspect) = self.peers.poll_suspect(now) {
            if !suspect.in_doubt {
                self.lose(suspect.key);
            } else if self.peers.knows(suspect.key) {
                // Whom a message cannot be sent to is lost by that; whoever lives answers it.
                let _ = self.send(suspect.key, &mut Head::new(&Header::new(Kind::Ping)), None);
            }
        }
    }

    /// How long the thread may sleep before it looks for losses again.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        if self.peers.has_suspects() {
            self.peers.next_due(Instant::now())
        } else {
            None
        }
    }

    fn lose(&mut self, key: PeerKey) {
        if self.peers.remove(key) {
            self.stats.lost += 1;
            self.lost.push_back(key);
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // While we still listen: nobody else can have the path yet.
        self.endpoint.remove_file();
    }
}

/// libzmq's own word that a peer is gone: an empty message that came through no connection.
fn is_notice(inbox: &Inbox) -> bool {
    inbox.first.len() == 0 && inbox.rest.is_empty() && inbox.first.source_fd().is_none()
}

fn set_options(socket: &Socket, side: Side, options: &ShardOptions) -> Result<(), zmq::Error> {
    let socket = socket.options();
    socket.set_router_mandatory(true)?;
    socket.set_backlog(BACKLOG)?;
    socket.set_linger(LINGER_MS)?;
    socket.set_handshake_ivl(HANDSHAKE_MS)?;
    let send_max = match side {
        Side::Client => options.queues.client_messages,
        Side::Worker => options.queues.worker_messages,
    };
    let messages = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    socket.set_sndhwm(messages(send_max))?;
    // A notice that finds the pipe full is lost: the monitor is there for such workers.
    socket.set_rcvhwm(messages(options.queues.receive_messages))?;
    let frame_max = options.payload_max.saturating_add(HEAD_ROOM);
    socket.set_maxmsgsize(i64::try_from(frame_max).unwrap_or(i64::MAX))?;
    if let Some(heartbeat) = options.heartbeat {
        let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        socket.set_heartbeat_ivl(millis(heartbeat.interval()))?;
        socket.set_heartbeat_timeout(millis(heartbeat.timeout()))?;
        socket.set_heartbeat_ttl(millis(heartbeat.peer_timeout()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContextOptions;

    fn router(context: &Context, notices: bool) -> Router {
        let endpoint: Endpoint = "tcp://127.0.0.1:*".parse().unwrap();
        let options = ShardOptions::new(None, endpoint.clone());
        if notices {
            return Router::bind(context, Side::Worker, &endpoint, &options).unwrap();
        }
        // As in a libzmq without the draft API.
        let socket = context.socket(zmq::SocketType::ROUTER).unwrap();
        set_options(&socket, Side::Worker, &options).unwrap();
        Router::listen(context, socket, Side::Worker, &endpoint, SUSPECT_GRACE).unwrap()
    }

    fn dealer(context: &Context, router: &Router) -> Socket {
        let socket = context.socket(zmq::SocketType::DEALER).unwrap();
        router.endpoint().connect(&socket).unwrap();
        socket
    }

    /// Turns the router until it has seen something, for at most ten seconds.
    fn until<T>(router: &mut Router, mut seen: impl FnMut(&mut Router) -> Option<T>) -> T {
        for _ in 0..10_000 {
            router.read_monitor().unwrap();
            if let Some(seen) = seen(router) {
                return seen;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("waited too long: {:?} {:?}", router.stats(), router.grace);
    }

    #[test]
    fn a_loss_is_told_once_and_behind_all_that_the_peer_sent() {
        for notices in [true, false] {
            let context = Context::new(ContextOptions::default()).unwrap();
            let mut router = router(&context, notices);
            let mut inbox = Inbox::new();
            for _ in 0..20 {
                let mut peer = dealer(&context, &router);
                for number in 0..100u8 {
                    peer.send_bytes(&[number], false).unwrap();
                }
                peer.options().set_linger(-1).unwrap();
                drop(peer);
                let (mut key, mut read) = (None, 0);
                let lost = until(&mut router, |router| {
                    while let received @ (Received::Message(_) | Received::Handled) =
                        router.recv(&mut inbox).unwrap()
                    {
                        let Received::Message(from) = received else {
                            continue;
                        };
                        assert_eq!(inbox.first.bytes(), [read]);
                        assert_eq!(*key.get_or_insert(from), from);
                        read += 1;
                    }
                    router.poll_lost()
                });
                assert_eq!((Some(lost), read), (key, 100));
                assert_eq!(router.poll_lost(), None);
            }
            assert_eq!((router.stats().lost, router.stats().connected), (20, 0));
        }
    }

    #[test]
    fn a_loss_is_told_to_a_shard_that_always_has_something_to_send() {
        let context = Context::new(ContextOptions::default()).unwrap();
        let mut router = router(&context, false);
        let mut inbox = Inbox::new();
        let mut meet = |router: &mut Router| {
            let mut peer = dealer(&context, router);
            peer.send_bytes(b"x", false).unwrap();
            let key = until(router, |router| match router.recv(&mut inbox).unwrap() {
                Received::Message(key) => Some(key),
                _ => None,
            });
            (peer, key)
        };
        let (_busy, busy_key) = meet(&mut router);
        let (doomed, doomed_key) = meet(&mut router);
        drop(doomed);
        let lost = until(&mut router, |router| {
            while router.recv(&mut inbox).unwrap() != Received::Nothing {}
            let mut head = Head::new(&Header::new(Kind::Ping));
            router.send(busy_key, &mut head, None).unwrap();
            router.poll_lost()
        });
        assert_eq!(lost, doomed_key);
    }

    #[test]
    fn an_operator_is_known_by_its_key_until_it_goes() {
        let context = Context::new(ContextOptions::default()).unwrap();
        let endpoint: Endpoint = "tcp://127.0.0.1:*".parse().unwrap();
        let mut options = ShardOptions::new(None, endpoint.clone());
        options.security = crate::Security::fresh().unwrap();
        let crate::Security::Keys(keys) = &options.security else {
            unreachable!("fresh keys were asked for");
        };
        let zap = crate::security::Zap::of(&context, keys).unwrap();
        let mut router = Router::bind(&context, Side::Client, &endpoint, &options).unwrap();
        let mut inbox = Inbox::new();
        for role in [Role::Operator, Role::Client] {
            let mut peer = context.socket(zmq::SocketType::DEALER).unwrap();
            keys.credentials(role).unwrap().show(&peer).unwrap();
            router.endpoint().connect(&peer).unwrap();
            peer.send_bytes(b"x", false).unwrap();
            let key = until(&mut router, |router| {
                match router.recv(&mut inbox).unwrap() {
                    Received::Message(key) => Some(key),
                    _ => None,
                }
            });
            assert_eq!(router.role(key), role);
            router.forget(key);
            assert_eq!(router.role(key), Role::Client);
        }
        drop((router, zap));
    }

    #[test]
    fn whoever_cannot_be_reached_is_lost() {
        let context = Context::new(ContextOptions::default()).unwrap();
        let mut router = router(&context, true);
        let mut inbox = Inbox::new();
        let mut head = Head::new(&Header::new(Kind::Ping));
        let stranger = PeerKey(1);
        assert_eq!(
            router.send(stranger, &mut head, None),
            Err(SendError::Unreachable)
        );
        assert_eq!(router.poll_lost(), None, "it was never known");
        let mut peer = dealer(&context, &router);
        peer.send_bytes(b"x", false).unwrap();
        let key = until(&mut router, |router| {
            match router.recv(&mut inbox).unwrap() {
                Received::Message(key) => Some(key),
                _ => None,
            }
        });
        assert!(router.is_stirred());
        assert_eq!(router.send(key, &mut head, None), Ok(()));
    }
}
