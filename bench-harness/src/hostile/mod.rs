//! `bench-harness hostile`: what peers that mean harm cost those that do not.
//!
//! ```text
//!  honest client, one task at a time ═══▶ controller process ◀═══ four honest workers
//!  attacker's thread, in bursts ────────────┘
//! ```
//! For each attack, blocks without and with it take turns, so both see the same machine; the ratio
//! of adjacent blocks is the figure. The attacker has a thread of this process and rests a
//! millisecond after each burst: on few cores it would otherwise be measured how a machine is
//! shared, and not what the controller does. Whatever it does, every honest task must complete.

mod attacks;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use taskyard_controller::one_line;
use taskyard_core::{Outcome, Submit, Target, Verdict};
use taskyard_dispatcher::Payload;
use taskyard_zmq::{
    ClientEvent, ClientOptions, Context, ContextOptions, HostOptions, RemoteClient,
    Role as KeyRole, StopFlag, WorkerHost, ZmqPayload,
};

use crate::child::Child;
use crate::error::Error;
use crate::machine;
use crate::messages::{Endpoints, Role};
use crate::options::Mode;
use crate::roles::credentials;
use crate::scratch::Scratch;
use crate::stats::Latencies;
use attacks::{ATTACKS, Attack, Victim};

/// Only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_millis(1);

/// Measures an honest client's round trips alone and under each attack.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-harness hostile")]
struct Options {
    /// Blocks without and with each attack
    #[arg(long, value_name = "N", default_value_t = 10)]
    blocks: u32,
    /// Milliseconds of each block
    #[arg(long, value_name = "MS", default_value_t = 500)]
    block_ms: u64,
    /// Few and short blocks: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
}

/// Measures, and prints a table.
///
/// # Errors
/// Options that make no sense, a process that does not start, or an honest task that did not
/// complete.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let name = std::iter::once(crate::host::name_of("hostile"));
    let mut options = match Options::try_parse_from(name.chain(arguments)) {
        Ok(options) => options,
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(wrong) => return Err(Error::Options(one_line(&wrong.to_string()))),
    };
    if options.quick {
        (options.blocks, options.block_ms) = (2, 100);
    }
    let scratch = Scratch::new()?;
    println!(
        "| attack | alone p50 / p99 / max us | attacked p50 / p99 / max us \
         | p50 x | p99 x | bursts | RSS MiB |"
    );
    println!("|{}", " --- |".repeat(7));
    for (number, attack) in ATTACKS.iter().enumerate() {
        let folder = scratch.path().join(format!("keys-{number}"));
        let row = Stage::start(&folder)?.measure(&options, attack)?;
        println!("{row}");
    }
    Ok(())
}

/// A controller of its own for each attack, with honest peers.
struct Stage {
    client: RemoteClient,
    stop: StopFlag,
    workers: Option<thread::JoinHandle<()>>,
    controller: Child,
    endpoints: Endpoints,
}

impl Stage {
    fn start(folder: &Path) -> Result<Self, Error> {
        let anywhere = "tcp://127.0.0.1:*".to_owned();
        let role = Role::Controller {
            mode: Mode::Auto,
            endpoints: Endpoints {
                clients: anywhere.clone(),
                workers: anywhere,
                connection: Some(folder.to_owned()),
            },
            shards: 1,
            payload: 1 << 16,
            heartbeat: None,
        };
        let mut controller = Child::start("the controller", &role)?;
        let endpoints = controller.ready()?.endpoints;
        let endpoints = endpoints
            .ok_or_else(|| Error::System("the controller did not say where it listens".into()))?;
        let context = Context::new(ContextOptions::default()).map_err(Error::system)?;
        let mut options = ClientOptions::new(endpoints.clients.parse().map_err(Error::system)?);
        options.connect_timeout = PATIENCE;
        options.credentials = credentials(endpoints.connection.as_deref(), KeyRole::Client)?;
        let client = RemoteClient::connect(&context, &options).map_err(Error::system)?;
        let workers =
            HostOptions::new(endpoints.workers.parse().map_err(Error::system)?).credentials(
                credentials(endpoints.connection.as_deref(), KeyRole::Worker)?,
            );
        let names = (0..4).map(|number| format!("honest.{number}"));
        let mut host = WorkerHost::connect(&context, &workers, names).map_err(Error::system)?;
        let stop = StopFlag::new();
        let theirs = stop.clone();
        let workers = thread::spawn(move || {
            // If it fails, the client waits for its outcomes in vain, and says so.
            let _ = host.run(|_, payload| (Verdict::Completed, payload.share()), &theirs);
        });
        Ok(Self {
            client,
            stop,
            workers: Some(workers),
            controller,
            endpoints,
        })
    }

    fn measure(&mut self, options: &Options, attack: &Attack) -> Result<String, Error> {
        let block = Duration::from_millis(options.block_ms);
        // The first tasks wait for the workers to come.
        self.round_trips(block)?;
        let victim = Victim::new(&self.endpoints)?;
        let (mut alone, mut attacked) = (Latencies::new(), Latencies::new());
        let (mut medians, mut tails) = (Vec::new(), Vec::new());
        let mut bursts = 0;
        let mut state = attacks::State::default();
        for _ in 0..options.blocks {
            let quiet = self.round_trips(block)?;
            let over = AtomicBool::new(false);
            let loud = thread::scope(|scope| {
                let (over, victim, state) = (&over, &victim, &mut state);
                let attacker = scope.spawn(move || {
                    let mut bursts = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        (attack.burst)(victim, state);
                        bursts += 1;
                        thread::sleep(REST);
                    }
                    bursts
                });
                let loud = self.round_trips(block);
                over.store(true, Ordering::Relaxed);
                bursts += attacker.join().unwrap_or(0);
                loud
            })?;
            medians.push(loud.quantile_us(0.5) / quiet.quantile_us(0.5));
            tails.push(loud.quantile_us(0.99) / quiet.quantile_us(0.99));
            alone.merge(&quiet);
            attacked.merge(&loud);
        }
        let rss = machine::resident_bytes(self.controller.id());
        let rss = rss.ok_or_else(|| Error::System("the controller is gone".into()))?;
        Ok(format!(
            "| {} | {} | {} | {:.2} | {:.2} | {bursts} | {} |",
            attack.name,
            figures(&alone),
            figures(&attacked),
            median(&mut medians),
            median(&mut tails),
            rss >> 20,
        ))
    }

    /// One honest task after the other, for so long.
    fn round_trips(&mut self, block: Duration) -> Result<Latencies, Error> {
        let mut latencies = Latencies::new();
        let end = Instant::now() + block;
        while Instant::now() < end {
            let start = Instant::now();
            let task = self.client.next_task_id();
            let name = format!("honest.{}", task.0 % 4);
            self.client
                .submit(
                    Submit::new(task, Target::Any),
                    Some(&name),
                    ZmqPayload::from_bytes(&[7; 64]),
                )
                .map_err(Error::system)?;
            match self.outcome()? {
                Outcome::Completed => {
                    let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    latencies.record_ns(took);
                }
                // Its worker has not come yet.
                Outcome::Refused(_) => thread::sleep(REST),
                other => return Err(Error::System(format!("an honest task: {other:?}"))),
            }
        }
        Ok(latencies)
    }

    fn outcome(&mut self) -> Result<Outcome, Error> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let event = self.client.wait(PATIENCE).map_err(Error::system)?;
            if let Some(ClientEvent::Outcome { outcome, .. }) = event {
                return Ok(outcome);
            }
        }
        Err(Error::System("an honest task has no outcome".into()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(workers) = self.workers.take() {
            let _ = workers.join();
        }
    }
}

fn figures(latencies: &Latencies) -> String {
    format!(
        "{:.0} / {:.0} / {:.0}",
        latencies.quantile_us(0.5),
        latencies.quantile_us(0.99),
        latencies.max_us()
    )
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}
