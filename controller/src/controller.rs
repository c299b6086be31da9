//! Puts a dispatcher and its shards together, each on its thread.

use std::path::Path;
use std::thread::JoinHandle;

use taskyard_dispatcher::{Clock, Dispatcher, Port, Runner, RunnerOptions};
use taskyard_zmq::{
    Context, ContextOptions, Endpoint, MemoryBound, QueueLimits, Shard, ShardOptions, StopFlag,
    ZmqPayload, controller_descriptors, raise_descriptor_limit,
};

use crate::access::{Access, Place};
use crate::error::Error;
use crate::options::{Mode, Options};

/// Connections that may come to be turned away.
const PEERS_SPARE: usize = 64;

type Thread = JoinHandle<Result<(), taskyard_zmq::Error>>;

/// A running controller; stops when dropped.
#[derive(Debug)]
pub struct Controller {
    clients: Endpoint,
    workers: Endpoint,
    mode: Mode,
    stop: StopFlag,
    /// Shards first: they hold ports of the dispatcher.
    shards: Vec<Thread>,
    runner: Option<Runner<ZmqPayload>>,
    /// Last: no other controller may have the folder before we listen no more.
    access: Access,
}

impl Controller {
    /// Binds the endpoints and starts all threads.
    ///
    /// # Errors
    /// When an endpoint cannot be bound, a connection file cannot be used or written, descriptors
    /// or threads cannot be had, or the options make no sense: each says what to do.
    pub fn start(options: &Options) -> Result<Self, Error> {
        check_shards(options.shards)?;
        let peers = options.capacities.workers + options.capacities.clients;
        // Fewer descriptors serve fewer peers: not a reason not to start.
        if let Err(error) = raise_descriptor_limit(controller_descriptors(peers)) {
            tracing::warn!("{error}");
        }
        let access = Access::open(options)?;
        let context = Context::new(ContextOptions::default())?;
        // Sockets before any pinning: libzmq's threads inherit the affinity of the one that makes
        // them.
        let shards = bind_shards(&context, options, &access)?;
        let clients = shards[0]
            .clients_endpoint()
            .unwrap_or(&options.clients)
            .clone();
        let workers = shards[0].workers_endpoint().clone();
        access.publish(&clients, &workers)?;
        let stop = StopFlag::new();
        let mode = options.mode.resolve();
        let (runner, shards) = match mode {
            Mode::Pinned => start_pinned(options, shards, &stop)?,
            _ => (None, start_hosted(options, shards, &stop)?),
        };
        Ok(Self {
            clients,
            workers,
            mode,
            stop,
            shards,
            runner,
            access,
        })
    }

    /// Where clients connect: with the port that was taken for a wildcard.
    #[must_use]
    pub const fn clients_endpoint(&self) -> &Endpoint {
        &self.clients
    }

    /// Where workers connect.
    #[must_use]
    pub const fn workers_endpoint(&self) -> &Endpoint {
        &self.workers
    }

    /// The folder of the connection files that its peers come in by.
    #[must_use]
    pub fn connection_dir(&self) -> &Path {
        self.access.path()
    }

    /// The endpoints at which what is said crosses a network, and in the clear.
    #[must_use]
    pub fn exposed_endpoints(&self) -> Vec<&Endpoint> {
        let endpoints = [&self.clients, &self.workers];
        let security = self.access.security();
        let exposed = endpoints
            .into_iter()
            .filter(|at| security.is_exposed_at(at));
        exposed.collect()
    }

    /// Who drives the dispatcher.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Ends the controller from another thread or a signal handler's.
    #[must_use]
    pub fn stop_flag(&self) -> StopFlag {
        self.stop.clone()
    }

    /// Waits until the controller has ended.
    ///
    /// # Errors
    /// What ended it, unless it was stopped.
    pub fn wait(mut self) -> Result<(), Error> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for thread in self.shards.drain(..) {
            let ended = match thread.join() {
                Ok(ended) => ended.map_err(Error::from),
                Err(_) => Err(Error::Panicked),
            };
            // One that fails takes the others with it.
            self.stop.stop();
            result = result.and(ended);
        }
        if let Some(runner) = self.runner.take()
            && let Ok(stats) = runner.with(|dispatcher, _| *dispatcher.stats())
        {
            tracing::info!(?stats, "the dispatcher stops");
        }
        result
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.stop();
        if let Err(error) = self.join() {
            tracing::error!("{error}");
        }
    }
}

fn check_shards(given: u16) -> Result<(), Error> {
    let max = Options::SHARDS_MAX;
    if (1..=max).contains(&given) {
        Ok(())
    } else {
        Err(Error::Shards { given, max })
    }
}

/// The first shard has both endpoints; the others have one for the workers that it sends on to
/// them.
fn bind_shards(context: &Context, options: &Options, access: &Access) -> Result<Vec<Shard>, Error> {
    let clients = access.clients(&options.clients)?;
    let workers = access.workers(&options.workers)?;
    let mut common = ShardOptions::new(None, workers.preferred().clone());
    common.heartbeat = options.heartbeat;
    common.payload_max = options.payload_max;
    common.security = access.security().clone();
    common.ticket_key = access.ticket_key().half();
    common.insecure_network = options.insecure_network;
    common.queues = queues(options)?;
    common.peers_max = peers_max(options);
    let mut shards = vec![bind_first(context, &common, [clients, workers])?];
    for index in 1..options.shards {
        let mut shard = common.clone();
        shard.workers = sibling(&common.workers, index)?;
        shards.push(Shard::bind(context, &shard)?);
    }
    let endpoints: Vec<_> = shards
        .iter()
        .map(|shard| shard.workers_endpoint().clone())
        .collect();
    shards[0].spread_over(&endpoints);
    Ok(shards)
}

/// The shard with both endpoints: on the ports of the last time, if they are free; else on any.
fn bind_first(
    context: &Context,
    common: &ShardOptions,
    mut places: [Place; 2],
) -> Result<Shard, Error> {
    let mut options = common.clone();
    loop {
        let [clients, workers] = places.each_ref().map(|place| place.preferred().clone());
        (options.clients, options.workers) = (Some(clients), workers);
        match Shard::bind(context, &options) {
            Err(taskyard_zmq::Error::Bind { endpoint, .. })
                if places.iter_mut().any(|place| place.give_up(&endpoint)) =>
            {
                tracing::warn!(%endpoint, "it is taken: peers of the last start will not find us");
            }
            other => return Ok(other?),
        }
    }
}

/// What libzmq may hold; says what all of it comes to.
fn queues(options: &Options) -> Result<QueueLimits, Error> {
    let limits = options
        .capacities
        .validate()
        .map_err(taskyard_dispatcher::Error::from)?;
    let queues = QueueLimits::new(&limits, options.payload_max, options.receive_bytes);
    let bound = MemoryBound::new(&limits, &queues, options.payload_max, options.shards);
    tracing::info!("{bound}");
    Ok(queues)
}

/// All peers at once, and all of them again before the old connections are noticed to be gone.
fn peers_max(options: &Options) -> usize {
    let peers = options.capacities.workers.max(options.capacities.clients);
    2 * peers as usize + PEERS_SPARE
}

/// Where the shard `index` listens: on the same interface with a port of its own, or beside the
/// path.
fn sibling(first: &Endpoint, index: u16) -> Result<Endpoint, Error> {
    let text = first.as_str();
    let text = match text.rsplit_once(':') {
        Some((host, _)) if text.starts_with("tcp://") => format!("{host}:*"),
        _ if text.ends_with('*') => text.to_owned(),
        _ => format!("{text}.{index}"),
    };
    Ok(text.parse()?)
}

type Pinned = (Option<Runner<ZmqPayload>>, Vec<Thread>);

fn start_pinned(options: &Options, shards: Vec<Shard>, stop: &StopFlag) -> Result<Pinned, Error> {
    let runner_options = RunnerOptions {
        core: Some(options.core),
        idle: options.idle,
    };
    let runner = Runner::start(options.capacities, runner_options)?;
    let mut threads = Vec::new();
    for shard in shards {
        let unparker = shard.unparker();
        let port = runner.with(move |dispatcher, _| dispatcher.attach(unparker))??;
        threads.push(spawn_shard(threads.len(), shard, port, stop)?);
    }
    Ok((Some(runner), threads))
}

fn start_hosted(
    options: &Options,
    shards: Vec<Shard>,
    stop: &StopFlag,
) -> Result<Vec<Thread>, Error> {
    let mut dispatcher = Dispatcher::new(options.capacities, shards[0].unparker())?;
    let mut ports = Vec::new();
    for shard in &shards {
        ports.push(dispatcher.attach(shard.unparker())?);
    }
    let mut dispatcher = Some(dispatcher);
    let mut threads = Vec::new();
    for (shard, port) in shards.into_iter().zip(ports) {
        let index = threads.len();
        threads.push(match dispatcher.take() {
            Some(dispatcher) => spawn_host(shard, port, dispatcher, stop)?,
            None => spawn_shard(index, shard, port, stop)?,
        });
    }
    Ok(threads)
}

fn spawn_shard(
    index: usize,
    mut shard: Shard,
    mut port: Port<ZmqPayload>,
    stop: &StopFlag,
) -> Result<Thread, Error> {
    let stop = stop.clone();
    let named = std::thread::Builder::new().name(format!("ty-shard-{index}"));
    Ok(named.spawn(move || {
        let ended = shard.run(&mut port, &stop);
        tracing::info!(index, stats = ?shard.stats(), "a shard has stopped");
        ended
    })?)
}

fn spawn_host(
    mut shard: Shard,
    mut port: Port<ZmqPayload>,
    mut dispatcher: Dispatcher<ZmqPayload>,
    stop: &StopFlag,
) -> Result<Thread, Error> {
    let stop = stop.clone();
    let named = std::thread::Builder::new().name("ty-shard-0".into());
    Ok(named.spawn(move || {
        let ended = shard.run_hosted(&mut port, &mut dispatcher, Clock::start(), &stop);
        tracing::info!(index = 0, stats = ?shard.stats(), "a shard has stopped");
        tracing::info!(stats = ?dispatcher.stats(), "the dispatcher stops");
        ended
    })?)
}

#[cfg(test)]
mod tests {
    use super::{check_shards, sibling};
    use crate::Options;

    #[test]
    fn shards_listen_beside_the_first() {
        let sibling = |text: &str| sibling(&text.parse().unwrap(), 2).unwrap().to_string();
        assert_eq!(sibling("tcp://127.0.0.1:7601"), "tcp://127.0.0.1:*");
        assert_eq!(sibling("tcp://[::1]:7601"), "tcp://[::1]:*");
        assert_eq!(sibling("ipc:///run/workers"), "ipc:///run/workers.2");
        assert_eq!(sibling("ipc://*"), "ipc://*");
    }

    #[test]
    fn no_shard_makes_no_sense() {
        assert!(check_shards(0).is_err());
        assert!(check_shards(Options::SHARDS_MAX).is_ok());
        assert!(check_shards(Options::SHARDS_MAX + 1).is_err());
    }
}
