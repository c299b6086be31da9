//! One transport thread of a controller: its two listening sockets, and the loop over them.
//!
//! ```text
//!            ┌────────────────── one turn ──────────────────┐
//!  poll ───▶ │ receive ≤ batch ─▶ hosted dispatcher ─▶ send │ ─▶ something done? again
//!            └──────────────────────────────────────────────┘    nothing? sleep in poll
//! ```
//! Two traps shape it. The descriptor of a ZeroMQ socket only has *edges*, and every call on the
//! socket, a send too, may swallow one; so nobody sleeps before the last call on each socket was a
//! receive that found nothing (`Router::is_stirred`). And that empty receive costs a third of a
//! microsecond, so a turn makes none before it has sent what it can: after a sleep the first
//! message is answered at once, and only then the batch grows, doubling while there is more.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use taskyard_dispatcher::{Clock, Dispatcher, Port, Unpark};
use taskyard_protocol::{Incoming, SessionOptions, SessionStats, Sessions, Side, WorkerNames};

use crate::log::LogBudget;
use crate::message::ZmqPayload;
use crate::multipart::Inbox;
use crate::pulse::Pulse;
use crate::router::{Received, RouterStats};
use crate::security::Security;
use crate::sockets::Sockets;
use crate::spare::Spare;
use crate::unpark::PollUnpark;
use crate::{Context, Endpoint, Error, Heartbeat, QueueLimits, StopFlag};

/// The most messages that a turn receives from one socket.
const BATCH_MAX: usize = 64;
/// Replies, and deliveries, that a turn sends at most.
const SENDS_MAX: usize = 256;
/// Room in the event ring that only workers' messages may use: a burst of submits never holds a
/// result back.
const WORKER_RESERVE: usize = 64;

const WAKER: Token = Token(0);
const CLIENTS: Token = Token(1);
const CLIENTS_MONITOR: Token = Token(2);
const WORKERS: Token = Token(3);
const WORKERS_MONITOR: Token = Token(4);

/// What a [`Shard`] listens on, and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// Where clients connect; one shard of a controller serves them, the others have `None`.
    pub clients: Option<Endpoint>,
    /// Where workers connect.
    pub workers: Endpoint,
    /// How silent peers are found. `None`: not at all.
    pub heartbeat: Option<Heartbeat>,
    /// The largest payload, all its frames together, in bytes.
    pub payload_max: usize,
    /// Whom to let in.
    pub security: Security,
    /// To listen where other hosts can reach it although nothing is encrypted.
    pub insecure_network: bool,
    /// How much libzmq may hold for each connection.
    pub queues: QueueLimits,
    /// Connections that are remembered on each side. Whoever comes beyond is turned away, and
    /// counted in [`SessionStats::peers_full`].
    pub peers_max: usize,
    /// The number of this controller's life, the same for all its shards: what was said to an
    /// earlier one does not count (rule R13). Random by default.
    pub boot: u64,
    /// The key of the marks that workers show for results from before a restart: a secret that is
    /// the same for all shards, and for the controllers that follow each other at these endpoints.
    /// By default it is random, and results of an earlier controller are dropped.
    pub ticket_key: u128,
    /// The workers' names: the same directory for all shards of a controller.
    pub names: WorkerNames,
}

impl ShardOptions {
    /// The defaults: those of [`Heartbeat`], payloads of up to 16 MiB; and [`Security::None`],
    /// which is for endpoints on this host only.
    #[must_use]
    pub fn new(clients: Option<Endpoint>, workers: Endpoint) -> Self {
        Self {
            clients,
            workers,
            heartbeat: Some(Heartbeat::default()),
            payload_max: 16 << 20,
            security: Security::None,
            insecure_network: false,
            queues: QueueLimits::default(),
            peers_max: 1 << 16,
            boot: taskyard_dispatcher::random_u64(),
            ticket_key: random_key(),
            names: WorkerNames::default(),
        }
    }
}

/// What a shard has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// At the clients' endpoint.
    pub clients: RouterStats,
    /// At the workers' endpoint.
    pub workers: RouterStats,
    /// What was said there.
    pub sessions: SessionStats,
    /// Sleeps.
    pub sleeps: u64,
    /// How often this process had not run for so long that connections may have been lost for it.
    pub stalls: u64,
}

/// The sockets of a controller that one thread serves.
///
/// It is bound first, and attached to a dispatcher then: [`unparker`](Self::unparker) wakes its
/// thread.
#[derive(Debug)]
pub struct Shard {
    poll: Poll,
    events: Events,
    unpark: Arc<PollUnpark>,
    sockets: Sockets,
    inbox: Inbox,
    sessions: Sessions<ZmqPayload>,
    session_options: SessionOptions,
    batch: usize,
    sleeps: u64,
    /// `None` without a heartbeat: then nobody is given up for silence.
    pulse: Option<Pulse>,
    log: LogBudget,
    spare: Spare,
}

impl Shard {
    /// Listens.
    ///
    /// # Errors
    /// [`Error::Bind`] with what to do about it; [`Error::InsecureNetwork`] for an endpoint that
    /// other hosts can reach, if nothing is encrypted; or the system is out of something.
    pub fn bind(context: &Context, options: &ShardOptions) -> Result<Self, Error> {
        let sockets = Sockets::bind(context, options)?;
        let poll = Poll::new().map_err(|error| Error::os("making a poll", &error))?;
        let unpark = PollUnpark::new(poll.registry(), WAKER)
            .and_then(|unpark| register(&poll, &sockets).map(|()| unpark))
            .map_err(|error| Error::os("registering with a poll", &error))?;
        let mut sessions = SessionOptions::new(options.boot);
        sessions.payload_max = options.payload_max;
        sessions.ticket_key = options.ticket_key;
        if let Some(heartbeat) = options.heartbeat {
            let silence = heartbeat.interval() + heartbeat.timeout();
            sessions.silence_max_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        }
        sessions.peers_max = options.peers_max;
        sessions.names = options.names.clone();
        Ok(Self {
            poll,
            events: Events::with_capacity(8),
            unpark,
            sockets,
            inbox: Inbox::new(),
            sessions: Sessions::new(sessions.clone()),
            session_options: sessions,
            batch: 1,
            sleeps: 0,
            pulse: options.heartbeat.map(Pulse::new),
            log: LogBudget::new(),
            spare: Spare::default(),
        })
    }

    /// Where clients connect, if here: definite, also if a wildcard was asked for.
    #[must_use]
    pub fn clients_endpoint(&self) -> Option<&Endpoint> {
        self.sockets.clients_endpoint()
    }

    /// Where workers connect: definite, also if a wildcard was asked for.
    #[must_use]
    pub fn workers_endpoint(&self) -> &Endpoint {
        self.sockets.workers_endpoint()
    }

    /// Spreads workers over the shards that listen on these endpoints, of which ours is one: a
    /// worker that registers here is sent on to where it is due. Call it before the shard runs.
    ///
    /// # Panics
    /// If ours is not among them.
    pub fn spread_over(&mut self, workers_endpoints: &[Endpoint]) {
        let ours = self.workers_endpoint();
        let at = workers_endpoints
            .iter()
            .position(|endpoint| endpoint == ours);
        self.session_options.shard =
            at.expect("a shard is among those that it spreads workers over");
        self.session_options.endpoints =
            workers_endpoints.iter().map(Endpoint::to_string).collect();
        self.sessions = Sessions::new(self.session_options.clone());
    }

    /// Wakes the thread that runs the shard: for the dispatcher that it attaches to, and as the
    /// host's own for one that it drives.
    #[must_use]
    pub fn unparker(&self) -> Arc<dyn Unpark> {
        self.unpark.clone()
    }

    /// What it has seen.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        let (clients, workers) = self.sockets.stats();
        ShardStats {
            clients,
            workers,
            sessions: self.sessions.stats(),
            sleeps: self.sleeps,
            stalls: self.pulse.map_or(0, |pulse| pulse.stalls()),
        }
    }

    /// Serves its peers until `stop`, for a dispatcher that another thread drives.
    ///
    /// # Errors
    /// If libzmq or the system fails in a way that it should not; what a peer does is never an
    /// error.
    pub fn run(&mut self, port: &mut Port<ZmqPayload>, stop: &StopFlag) -> Result<(), Error> {
        self.run_with(port, &mut Driver::Elsewhere, stop)
    }

    /// Serves its peers until `stop`, and drives the dispatcher on the same thread: nothing is
    /// handed over.
    ///
    /// `clock` is the one that the dispatcher has been driven by so far, if it has.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_hosted(
        &mut self,
        port: &mut Port<ZmqPayload>,
        dispatcher: &mut Dispatcher<ZmqPayload>,
        clock: Clock,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        self.run_with(port, &mut Driver::Hosted { dispatcher, clock }, stop)
    }

    fn run_with(
        &mut self,
        port: &mut Port<ZmqPayload>,
        driver: &mut Driver<'_>,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        let _entered = stop.enter(self.unparker());
        while !stop.is_stopped() {
            if self.turn(port, driver)? {
                self.batch = (self.batch * 2).min(BATCH_MAX);
            } else {
                self.batch = 1;
                self.sleep(port, driver)?;
            }
        }
        Ok(())
    }

    /// One turn; false if there was nothing to do.
    fn turn(
        &mut self,
        port: &mut Port<ZmqPayload>,
        driver: &mut Driver<'_>,
    ) -> Result<bool, Error> {
        self.feel_pulse();
        let received = self.receive(Side::Worker, port)? + self.receive(Side::Client, port)?;
        port.flush();
        let driven = driver.run_once();
        let sent = self.send(port);
        let lost = self.tell_losses(port);
        self.sessions.settle(port);
        self.write_log();
        Ok(received + driven + sent + lost > 0)
    }

    /// Takes up to a batch of messages from one socket, as far as the dispatcher has room for what
    /// they may cause.
    fn receive(&mut self, side: Side, port: &mut Port<ZmqPayload>) -> Result<usize, Error> {
        let room = room_for(side);
        for received in 0..self.batch {
            let Some(router) = self.sockets.router(side) else {
                return Ok(received);
            };
            if !router.is_stirred() || !port.has_room(room) {
                return Ok(received);
            }
            match router.recv(&mut self.inbox)? {
                Received::Nothing => return Ok(received),
                Received::Handled => {}
                Received::Message(peer) => {
                    let payload = incoming(&mut self.inbox, self.session_options.payload_max);
                    let first = self.inbox.first.bytes();
                    self.sessions.handle_message(
                        side,
                        peer,
                        first,
                        payload,
                        port,
                        &mut self.sockets,
                    );
                }
            }
        }
        Ok(self.batch)
    }

    /// Sends what the dispatcher has for the peers.
    fn send(&mut self, port: &mut Port<ZmqPayload>) -> usize {
        let mut sent = 0;
        while sent < SENDS_MAX {
            let Some(reply) = port.poll_reply() else {
                break;
            };
            self.sessions.handle_reply(reply, port, &mut self.sockets);
            sent += 1;
        }
        // A stop may have come since this turn began.
        self.feel_pulse();
        // A task that is not taken yet has not started, and can go elsewhere.
        let holds_back = self.pulse.is_some_and(|pulse| pulse.holds_back());
        while sent < 2 * SENDS_MAX && !holds_back {
            let Some(delivery) = port.poll_delivery() else {
                break;
            };
            self.sessions
                .handle_delivery(delivery, port, &mut self.sockets);
            sent += 1;
        }
        sent
    }

    /// Before anything that has happened meanwhile is looked at.
    fn feel_pulse(&mut self) {
        let Some(pulse) = self.pulse.as_mut() else {
            return;
        };
        let gap = pulse.beat();
        self.sessions.note_stall(pulse.is_doubtful());
        let Some(gap) = gap else {
            return;
        };
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            gap_ms,
            "this controller had not run for a while: whoever is lost now has time to come back"
        );
    }

    fn write_log(&mut self) {
        while let Some(log) = self.sessions.poll_log() {
            self.log.write(&log);
        }
        self.log.settle();
    }

    /// Tells the sessions of connections that are gone.
    fn tell_losses(&mut self, port: &mut Port<ZmqPayload>) -> usize {
        let mut told = 0;
        for side in [Side::Worker, Side::Client] {
            while let Some(router) = self.sockets.router(side)
                && let Some(peer) = router.poll_lost()
            {
                if told == 0 {
                    // A stop may have come since; the clock is read only when there is a loss.
                    self.feel_pulse();
                }
                self.sessions.handle_peer_gone(side, peer, port);
                told += 1;
            }
        }
        if told > 0 {
            self.spare.note_lost(told, Instant::now());
        }
        told
    }

    /// Sleeps until a socket, a bell or a deadline has something; not at all if something turns up
    /// while it lies down.
    fn sleep(&mut self, port: &mut Port<ZmqPayload>, driver: &mut Driver<'_>) -> Result<(), Error> {
        // What waits for room in the event ring asks for it here, and the port sleeps on that as
        // well.
        if !self.sessions.is_settled() && port.has_room(Sessions::<ZmqPayload>::ROOM + 1) {
            return Ok(());
        }
        for side in [Side::Worker, Side::Client] {
            if self
                .sockets
                .router(side)
                .is_some_and(|router| router.is_stirred())
                && port.has_room(room_for(side))
            {
                return Ok(());
            }
        }
        if self.pulse.is_some_and(|pulse| pulse.holds_back()) {
            // What waits would let nobody sleep.
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        }
        if !driver.prepare_sleep() {
            return Ok(());
        }
        if port.prepare_sleep() {
            let timeout = earlier(driver.next_timeout(), self.sockets.next_due());
            let timeout = earlier(timeout, self.log.next_due());
            let timeout = earlier(timeout, self.spare.settle(Instant::now));
            let timeout = earlier(timeout, self.pulse.map(|pulse| pulse.sleep_max()));
            let polled = self.poll(timeout);
            port.woke();
            driver.woke();
            return polled;
        }
        driver.woke();
        Ok(())
    }

    fn poll(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.sleeps += 1;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(Error::os("polling", &error)),
        }
        for event in &self.events {
            let side = match event.token() {
                CLIENTS | CLIENTS_MONITOR => Side::Client,
                WORKERS | WORKERS_MONITOR => Side::Worker,
                _ => continue,
            };
            let Some(router) = self.sockets.router(side) else {
                continue;
            };
            match event.token() {
                CLIENTS | WORKERS => router.stir(),
                _ => router.read_monitor()?,
            }
        }
        Ok(())
    }
}

/// Who drives the dispatcher.
enum Driver<'a> {
    Elsewhere,
    Hosted {
        dispatcher: &'a mut Dispatcher<ZmqPayload>,
        clock: Clock,
    },
}

impl Driver<'_> {
    fn run_once(&mut self) -> usize {
        match self {
            Self::Elsewhere => 0,
            Self::Hosted { dispatcher, clock } => dispatcher.run_once(clock.now()),
        }
    }

    fn prepare_sleep(&mut self) -> bool {
        match self {
            Self::Elsewhere => true,
            Self::Hosted { dispatcher, .. } => dispatcher.prepare_sleep(),
        }
    }

    fn woke(&mut self) {
        if let Self::Hosted { dispatcher, .. } = self {
            dispatcher.woke();
        }
    }

    fn next_timeout(&self) -> Option<Duration> {
        match self {
            Self::Elsewhere => None,
            Self::Hosted { dispatcher, clock } => dispatcher
                .next_timeout()
                .map(|due| Clock::wait(clock.now(), due)),
        }
    }
}

/// Events that a message of this side must find room for.
const fn room_for(side: Side) -> usize {
    match side {
        Side::Worker => Sessions::<ZmqPayload>::ROOM,
        Side::Client => Sessions::<ZmqPayload>::ROOM + WORKER_RESERVE,
    }
}

/// Makes a payload of the frames behind a first frame.
fn incoming(inbox: &mut Inbox, payload_max: usize) -> Incoming<ZmqPayload> {
    if inbox.rest.is_empty() {
        return Incoming::Alone;
    }
    let bytes: usize = inbox.rest.iter().map(|frame| frame.len()).sum();
    if bytes > payload_max {
        inbox.rest.clear();
    }
    ZmqPayload::from_received(&mut inbox.rest).map_or(Incoming::Unusable, Incoming::Frames)
}

/// A number that nobody can guess.
fn random_key() -> u128 {
    let [high, low] = [(); 2].map(|()| taskyard_dispatcher::random_u64());
    u128::from(high) << 64 | u128::from(low)
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn register(poll: &Poll, sockets: &Sockets) -> io::Result<()> {
    let mut fds = Vec::new();
    if let Some((socket, monitor)) = sockets.clients_fds() {
        fds.extend([(socket, CLIENTS), (monitor, CLIENTS_MONITOR)]);
    }
    let (socket, monitor) = sockets.workers_fds();
    fds.extend([(socket, WORKERS), (monitor, WORKERS_MONITOR)]);
    for (fd, token) in fds {
        poll.registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
    }
    Ok(())
}
