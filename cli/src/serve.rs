//! `taskyard controller`: runs one until a signal, or the end of its standard input.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use taskyard_controller::{Controller, Mode, Options};
use taskyard_core::Config;
use taskyard_dispatcher::IdleStrategy;
use taskyard_zmq::{ConnectionDir, Endpoint, Heartbeat, LibzmqFeatures, StopFlag};

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// Where clients connect: tcp://HOST:PORT (* takes a free port) or ipc:///PATH.
    #[arg(long, default_value = "tcp://127.0.0.1:7600")]
    clients: Endpoint,
    /// Where workers connect.
    #[arg(long, default_value = "tcp://127.0.0.1:7601")]
    workers: Endpoint,
    /// Who drives the dispatcher: auto, pinned (a thread of its own) or hosted (the first shard's).
    #[arg(long, default_value = "auto")]
    mode: Mode,
    /// Transport threads that the workers are spread over.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// The core for a pinned dispatcher, from 0.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// How a pinned dispatcher waits: spin, backoff or park.
    #[arg(long, default_value = "backoff")]
    idle: IdleStrategy,
    /// Tasks held at once, those with an outcome that waits for its client included.
    #[arg(long, default_value_t = Config::default().tasks)]
    tasks_max: u32,
    /// Workers attached at once.
    #[arg(long, default_value_t = Config::default().workers)]
    workers_max: u32,
    /// Clients known at once.
    #[arg(long, default_value_t = Config::default().clients)]
    clients_max: u32,
    /// Tasks of one client held at once; half of --tasks-max if it is not given.
    #[arg(long)]
    quota: Option<u32>,
    /// The largest payload taken, in bytes.
    #[arg(long, default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    payload_max_bytes: u32,
    /// Bytes of all payloads and results held at once; beyond, new tasks are refused. 0: no limit.
    #[arg(long, default_value_t = Config::default().payload_bytes)]
    payload_bytes_max: u64,
    /// Bytes of results held beyond those; a result that finds them full makes its task fail.
    #[arg(long, default_value_t = Config::default().result_bytes)]
    result_bytes_max: u64,
    /// Bytes of one client's payloads and results held at once; half of --payload-bytes-max if it
    /// is not given.
    #[arg(long)]
    quota_bytes: Option<u64>,
    /// Bytes of each peer's messages that are read ahead, about.
    #[arg(long, default_value_t = 64 << 20)]
    receive_bytes_max: u32,
    /// How often each peer is asked for a sign of life; 0: never.
    #[arg(long, default_value_t = millis(Heartbeat::default().interval()))]
    heartbeat_interval_ms: u64,
    /// How long a peer's sign of life may take: then the peer is lost.
    #[arg(long, default_value_t = millis(Heartbeat::default().timeout()))]
    heartbeat_timeout_ms: u64,
    /// How long a worker whose connection is gone is only suspected; 0: it is lost at once.
    #[arg(long, default_value_t = Config::default().rejoin_grace_ms)]
    rejoin_grace_ms: u64,
    /// The same for one that was lost when this controller had not run for a while.
    #[arg(long, default_value_t = Config::default().stall_grace_ms)]
    stall_grace_ms: u64,
    /// After a restart: how long tasks that may run once wait for a worker's result from before.
    #[arg(long, default_value_t = Config::default().restart_grace_ms)]
    restart_grace_ms: u64,
    /// How long a worker may take to answer an abort before it counts as lost.
    #[arg(long, default_value_t = Config::default().abort_grace_ms)]
    abort_grace_ms: u64,
    /// How long the outcomes of a client that is gone are kept for its return.
    #[arg(long, default_value_t = Config::default().keep_outcomes_ms)]
    keep_outcomes_ms: u64,
    /// The folder for the connection files; keys and ports are kept in it from start to start.
    #[arg(long, default_value_os_t = ConnectionDir::default_path())]
    connection_dir: PathBuf,
    /// Make new keys: who holds the old ones stays outside.
    #[arg(long)]
    fresh_keys: bool,
    /// Let everybody in who can reach the endpoints.
    #[arg(long)]
    no_auth: bool,
    /// Listen where other hosts can reach it although nothing that is said there is encrypted.
    #[arg(long)]
    insecure_network: bool,
    /// End, as by SIGTERM, when standard input is closed: whoever holds the other end of that pipe
    /// need not be able to say goodbye.
    #[arg(long)]
    exit_with_stdin: bool,
}

impl ControllerArgs {
    fn options(&self) -> Result<Options, taskyard_controller::Error> {
        let mut options = Options::new(self.clients.clone(), self.workers.clone());
        options.mode = self.mode;
        options.shards = self.shards;
        options.core = self.core;
        options.idle = self.idle;
        options.payload_max = self.payload_max_bytes as usize;
        options.receive_bytes = self.receive_bytes_max as usize;
        options.heartbeat = self.heartbeat()?;
        options.connection_dir.clone_from(&self.connection_dir);
        options.fresh_keys = self.fresh_keys;
        options.no_auth = self.no_auth;
        options.insecure_network = self.insecure_network;
        let capacities = &mut options.capacities;
        capacities.tasks = self.tasks_max;
        capacities.workers = self.workers_max;
        capacities.clients = self.clients_max;
        // 0 stands for half of the tasks.
        capacities.quota = self.quota.unwrap_or(0);
        capacities.rejoin_grace_ms = self.rejoin_grace_ms;
        capacities.stall_grace_ms = self.stall_grace_ms;
        capacities.restart_grace_ms = self.restart_grace_ms;
        capacities.abort_grace_ms = self.abort_grace_ms;
        capacities.keep_outcomes_ms = self.keep_outcomes_ms;
        capacities.payload_bytes = self.payload_bytes_max;
        capacities.result_bytes = self.result_bytes_max;
        capacities.quota_bytes = self.quota_bytes.unwrap_or(0);
        Ok(options)
    }

    fn heartbeat(&self) -> Result<Option<Heartbeat>, taskyard_zmq::Error> {
        if self.heartbeat_interval_ms == 0 {
            return Ok(None);
        }
        let interval = Duration::from_millis(self.heartbeat_interval_ms);
        let timeout = Duration::from_millis(self.heartbeat_timeout_ms);
        Heartbeat::new(interval, timeout).map(Some)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Lines on standard error; `RUST_LOG` says how many.
pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // Whoever reads the log may go away: to complain of that there would panic.
        .log_internal_errors(false)
        .init();
}

/// On standard output, for scripts: the endpoints with the ports that were really taken, and the
/// folder of the connection files.
///
/// Whoever reads may have gone away since; that ends no controller, so `println!` will not do.
fn announce(controller: &Controller) {
    let lines = format!(
        "clients {}\nworkers {}\nmode {}\nconnection {}\n",
        controller.clients_endpoint(),
        controller.workers_endpoint(),
        controller.mode().name(),
        controller.connection_dir().display()
    );
    let mut out = std::io::stdout();
    if let Err(error) = out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!("nobody was told the endpoints: {error}");
    }
}

/// In red where a person reads it, and past every setting of the log.
fn warn_of_exposure(controller: &Controller) {
    let is_terminal = std::io::stderr().is_terminal();
    for endpoint in controller.exposed_endpoints() {
        let line = exposure(endpoint.as_str(), is_terminal);
        // Nobody may read it: that ends no controller.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn exposure(endpoint: &str, is_terminal: bool) -> String {
    let (red, plain) = match is_terminal {
        true => ("\x1b[1;31m", "\x1b[0m"),
        false => ("", ""),
    };
    format!(
        "{red}INSECURE: other hosts can reach {endpoint}, and keys, tasks and results cross the \
         network in the clear{plain}"
    )
}

/// Runs a controller until it is told to end.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub(crate) fn run(args: &ControllerArgs) -> Result<(), taskyard_controller::Error> {
    start_log();
    let controller = Controller::start(&args.options()?)?;
    match LibzmqFeatures::probe() {
        Ok(features) => tracing::info!("{features}"),
        Err(error) => tracing::warn!("{error}"),
    }
    warn_of_exposure(&controller);
    announce(&controller);
    let stop = controller.stop_flag();
    if args.exit_with_stdin {
        stop_with_stdin(stop.clone())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let watcher = std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            tracing::info!(signal, "stopping");
            stop.stop();
        }
    });
    let ended = controller.wait();
    handle.close();
    if watcher.join().is_err() {
        tracing::error!("the signal watcher has panicked");
    }
    ended
}

/// A thread of its own waits for the end of standard input, and is not waited for: it may read on
/// for as long as the process lives.
fn stop_with_stdin(stop: StopFlag) -> std::io::Result<()> {
    let named = std::thread::Builder::new().name("ty-stdin".into());
    named.spawn(move || {
        let mut ignored = [0; 512];
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // There is nobody at the other end of what cannot be read, either.
                Err(error) => {
                    tracing::warn!("standard input cannot be read: {error}");
                    break;
                }
            }
        }
        tracing::info!("standard input is closed: stopping");
        stop.stop();
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::exposure;

    #[test]
    fn what_is_exposed_is_said_in_red_to_a_terminal() {
        let said = exposure("tcp://0.0.0.0:1", true);
        assert!(said.starts_with("\x1b[1;31mINSECURE: ") && said.ends_with("\x1b[0m"));
        let piped = exposure("tcp://0.0.0.0:1", false);
        assert!(piped.starts_with("INSECURE: ") && !piped.contains('\x1b'));
        assert!(piped.contains("tcp://0.0.0.0:1"));
    }
}
