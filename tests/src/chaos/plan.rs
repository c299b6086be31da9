//! What the seed decides: how the cast is set up, and which fault hits whom when.

use std::fmt;

use crate::sim::Rng;

/// How often the controller asks for a sign of life, and how long that may take: a silence is
/// noticed within the sum.
pub(crate) const HEARTBEAT_INTERVAL_MS: u64 = 400;
pub(crate) const HEARTBEAT_TIMEOUT_MS: u64 = 1_000;
/// Silences that cost nothing: far below that time, also on a busy machine.
const SHORT_MS: (u64, u64) = (50, 250);
/// Silences that are noticed: far above the sum.
const LONG_MS: (u64, u64) = (2_500, 4_500);

/// From one fault of the controller's to its next.
const HELD_MS: u64 = 7_000;

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A worker gets SIGKILL; a new one with its name comes a little later.
    Kill,
    /// A worker gets SIGSTOP, and SIGCONT when it must have been given up.
    Freeze,
    /// A worker gets SIGSTOP, and SIGCONT before anybody may mind.
    Blink,
    /// A worker's connection breaks.
    Cut,
    /// A worker's connection passes nothing on until it must have been given up.
    Silence,
    /// A worker's connection passes nothing on, and goes on before anybody may mind.
    Pause,
    /// A worker's connection gets slow.
    Delay,
    /// A worker reads nothing for a while.
    Deaf,
    /// A client reads nothing for a while, and submits all the more.
    Slow,
    /// A client gets SIGKILL, and comes back with its key.
    Vanish,
    /// A client says goodbye, whatever it still has; another takes its place.
    Goodbye,
    /// A client gets SIGSTOP, and SIGCONT some time later.
    ClientFreeze,
    /// A client's connection breaks.
    ClientCut,
    /// The controller gets SIGSTOP, and SIGCONT when it could take everybody for dead.
    Stall,
    /// The controller gets SIGSTOP, and SIGCONT soon.
    Hiccup,
    /// The controller gets SIGKILL, and is started anew on the same endpoints.
    Restart,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Worker,
    Client,
    Controller,
}

impl Kind {
    /// All kinds, with how often they are drawn at most.
    const ALL: [(Self, u64); 16] = [
        (Self::Kill, 30),
        (Self::Freeze, 9),
        (Self::Blink, 8),
        (Self::Cut, 12),
        (Self::Silence, 8),
        (Self::Pause, 6),
        (Self::Delay, 6),
        (Self::Deaf, 6),
        (Self::Slow, 5),
        (Self::Vanish, 4),
        (Self::Goodbye, 2),
        (Self::ClientFreeze, 3),
        (Self::ClientCut, 3),
        (Self::Stall, 3),
        (Self::Hiccup, 3),
        // There is exactly one, in the middle.
        (Self::Restart, 0),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Blink => "blink",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::Pause => "pause",
            Self::Delay => "delay",
            Self::Deaf => "deaf",
            Self::Slow => "slow",
            Self::Vanish => "vanish",
            Self::Goodbye => "goodbye",
            Self::ClientFreeze => "client-freeze",
            Self::ClientCut => "client-cut",
            Self::Stall => "stall",
            Self::Hiccup => "hiccup",
            Self::Restart => "restart",
        }
    }

    pub(crate) fn code(self) -> u64 {
        self as u64
    }

    pub(crate) fn read(code: u64) -> Option<Self> {
        let (kind, _) = Self::ALL.get(usize::try_from(code).ok()?)?;
        Some(*kind)
    }

    pub(crate) fn victim(self) -> Victim {
        match self {
            Self::Kill
            | Self::Freeze
            | Self::Blink
            | Self::Cut
            | Self::Silence
            | Self::Pause
            | Self::Delay
            | Self::Deaf => Victim::Worker,
            Self::Slow | Self::Vanish | Self::Goodbye | Self::ClientFreeze | Self::ClientCut => {
                Victim::Client
            }
            Self::Stall | Self::Hiccup | Self::Restart => Victim::Controller,
        }
    }

    /// Whether it needs a connection that goes through a proxy.
    pub(crate) fn needs_proxy(self) -> bool {
        matches!(
            self,
            Self::Cut | Self::Silence | Self::Pause | Self::Delay | Self::ClientCut
        )
    }

    /// Whether the worker that it hits is given up.
    pub(crate) fn loses_worker(self) -> bool {
        matches!(self, Self::Kill | Self::Freeze | Self::Cut | Self::Silence)
    }

    /// Until it is over, in milliseconds.
    fn draw_length(self, rng: &mut Rng) -> u64 {
        let (low, high) = match self {
            Self::Kill => (0, 3_000),
            Self::Freeze | Self::Silence => LONG_MS,
            Self::Blink | Self::Pause | Self::Hiccup => SHORT_MS,
            // A connection that has broken is made again at once.
            Self::Cut | Self::ClientCut => (500, 500),
            Self::Delay => (1_000, 4_000),
            Self::Deaf | Self::Slow => (500, 4_000),
            Self::Vanish => (100, 4_000),
            Self::Goodbye => (500, 1_000),
            Self::ClientFreeze => (50, 4_000),
            Self::Stall => (1_800, 2_800),
            Self::Restart => (100, 1_500),
        };
        rng.between(low, high)
    }
}

/// One fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// From the end of the warm-up.
    pub(crate) at_ms: u64,
    pub(crate) kind: Kind,
    /// Which of those that it may hit.
    pub(crate) draw: u64,
    pub(crate) length_ms: u64,
}

/// A run, as far as a seed can decide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: u64,
    pub(crate) clients: u64,
    /// Clients, and workers, come over a Unix socket.
    pub(crate) ipc: [bool; 2],
    pub(crate) pinned: bool,
    pub(crate) shards: u64,
    /// In a thousand peers, those behind a proxy.
    pub(crate) proxied: u64,
    /// Tasks that each client submits in a second.
    pub(crate) per_second: u64,
    pub(crate) warm_up_ms: u64,
    pub(crate) faults_ms: u64,
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    pub(crate) fn draw(seed: u64, workers: u64, minutes: f64) -> Self {
        let mut rng = Rng::new(seed);
        let all_ms = (minutes * 60_000.0).max(3_000.0) as u64;
        let warm_up_ms = (all_ms / 7).clamp(1_500, 15_000);
        // What is left is for the settling.
        let faults_ms = all_ms * 13 / 20;
        let clients = rng.between(4, 8);
        let mut plan = Self {
            seed,
            workers,
            clients,
            ipc: [rng.chance(500), rng.chance(500)],
            pinned: rng.chance(500),
            shards: rng.between(1, 2),
            proxied: rng.between(250, 500),
            per_second: ((workers * 8).min(1_200) / clients).max(5),
            warm_up_ms,
            faults_ms,
            faults: Vec::new(),
        };
        plan.draw_faults(&mut rng);
        plan
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        let weights: Vec<_> = Kind::ALL
            .iter()
            .map(|&(kind, most)| (kind, rng.between(most.div_ceil(3), most)))
            .collect();
        let sum: u64 = weights.iter().map(|&(_, weight)| weight).sum();
        // So that about one worker in six is away at any time.
        let gap_ms = (12_000 / self.workers.max(1)).clamp(40, 800);
        let restart_ms = rng.between(self.faults_ms * 2 / 5, self.faults_ms * 3 / 5);
        // A controller that is held all the time shows nothing else.
        let mut held_ms = 0;
        let mut at_ms = 0;
        loop {
            at_ms += rng.between(1, 2 * gap_ms);
            if at_ms >= self.faults_ms {
                break;
            }
            let mut drawn = rng.below(sum);
            let kind = weights.iter().find(|(_, weight)| {
                let found = drawn < *weight;
                drawn = drawn.saturating_sub(*weight);
                found
            });
            let Some(&(kind, _)) = kind else { continue };
            let fault = Fault {
                at_ms,
                kind,
                draw: rng.next(),
                length_ms: kind.draw_length(rng),
            };
            if kind.victim() == Victim::Controller {
                if at_ms < held_ms || at_ms.abs_diff(restart_ms) < HELD_MS {
                    continue;
                }
                held_ms = at_ms + HELD_MS;
            }
            self.faults.push(fault);
        }
        self.faults.push(Fault {
            at_ms: restart_ms,
            kind: Kind::Restart,
            draw: 0,
            length_ms: Kind::Restart.draw_length(rng),
        });
        self.faults.sort_by_key(|fault| fault.at_ms);
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = |ipc| if ipc { "ipc" } else { "tcp" };
        write!(
            f,
            "seed {}: {} workers over {}, {} clients over {}, {} of 1000 behind proxies, \
             {} shards, {}; {} tasks/s from each client; {} ms to warm up, {} faults in {} ms",
            self.seed,
            self.workers,
            over(self.ipc[1]),
            self.clients,
            over(self.ipc[0]),
            self.proxied,
            self.shards,
            if self.pinned { "pinned" } else { "hosted" },
            self.per_second,
            self.warm_up_ms,
            self.faults.len(),
            self.faults_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_plans_the_same() {
        let plan = Plan::draw(5, 60, 1.0);
        assert_eq!(plan, Plan::draw(5, 60, 1.0));
        assert_ne!(plan.faults, Plan::draw(6, 60, 1.0).faults);
    }

    #[test]
    fn the_controller_is_started_anew_exactly_once() {
        for seed in 0..50 {
            let plan = Plan::draw(seed, 8, 0.2);
            let restarts = plan
                .faults
                .iter()
                .filter(|fault| fault.kind == Kind::Restart);
            assert_eq!(restarts.count(), 1, "seed {seed}");
        }
    }

    #[test]
    fn kinds_are_read_as_they_were_written() {
        for (kind, _) in Kind::ALL {
            assert_eq!(Kind::read(kind.code()), Some(kind));
        }
    }
}
