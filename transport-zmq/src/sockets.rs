//! The one or two listening sockets of a shard: the sessions' way out.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use taskyard_protocol::wire::Head;
use taskyard_protocol::{Authority, Outbox, PeerKey, SendError, Side};

use crate::message::ZmqPayload;
use crate::router::{Router, RouterStats};
use crate::security::{Role, Security, Zap};
use crate::shard::ShardOptions;
use crate::{Context, Endpoint, Error};

/// The listening sockets of a shard.
#[derive(Debug)]
pub(crate) struct Sockets {
    clients: Option<Router>,
    workers: Router,
    /// After the sockets that it keeps the doors of.
    _zap: Option<Arc<Zap>>,
}

impl Sockets {
    pub(crate) fn bind(context: &Context, options: &ShardOptions) -> Result<Self, Error> {
        for endpoint in options.clients.iter().chain([&options.workers]) {
            if options.security.is_exposed_at(endpoint) && !options.insecure_network {
                return Err(Error::InsecureNetwork(endpoint.clone()));
            }
        }
        // Before anybody can knock.
        let zap = match &options.security {
            Security::None => None,
            Security::Keys(keys) => Some(Zap::of(context, keys)?),
        };
        let bind = |side, endpoint: &Endpoint| Router::bind(context, side, endpoint, options);
        Ok(Self {
            clients: options
                .clients
                .as_ref()
                .map(|endpoint| bind(Side::Client, endpoint))
                .transpose()?,
            workers: bind(Side::Worker, &options.workers)?,
            _zap: zap,
        })
    }

    /// The socket of a side, if this shard serves it.
    pub(crate) fn router(&mut self, side: Side) -> Option<&mut Router> {
        match side {
            Side::Client => self.clients.as_mut(),
            Side::Worker => Some(&mut self.workers),
        }
    }

    pub(crate) fn clients_endpoint(&self) -> Option<&Endpoint> {
        self.clients.as_ref().map(Router::endpoint)
    }

    pub(crate) fn workers_endpoint(&self) -> &Endpoint {
        self.workers.endpoint()
    }

    /// Socket and monitor, for polling.
    pub(crate) fn clients_fds(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.clients.as_ref().map(Router::fds)
    }

    /// Socket and monitor, for polling.
    pub(crate) fn workers_fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        self.workers.fds()
    }

    /// Of the clients' socket, and of the workers'.
    pub(crate) fn stats(&self) -> (RouterStats, RouterStats) {
        (
            self.clients.as_ref().map(Router::stats).unwrap_or_default(),
            self.workers.stats(),
        )
    }

    /// How long the thread may sleep before it looks for losses again.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let clients = self.clients.as_ref().and_then(Router::next_due);
        [clients, self.workers.next_due()]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Outbox<ZmqPayload> for Sockets {
    fn send(
        &mut self,
        side: Side,
        peer: PeerKey,
        head: &mut Head,
        payload: Option<ZmqPayload>,
    ) -> Result<(), SendError> {
        let router = self.router(side).ok_or(SendError::Unreachable)?;
        router.send(peer, head, payload.as_ref())
    }

    fn close(&mut self, side: Side, peer: PeerKey) {
        if let Some(router) = self.router(side) {
            router.forget(peer);
        }
    }

    fn authority(&self, side: Side, peer: PeerKey) -> Authority {
        match (&self.clients, side) {
            (Some(router), Side::Client) if router.role(peer) == Role::Operator => Authority::All,
            _ => Authority::Own,
        }
    }
}
