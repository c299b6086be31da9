//! What one history is like: its sizes, and which faults exist in it at all. The seed draws both,
//! so that histories differ in kind and not only in detail. Small capacities find more.

use std::fmt;

use super::rng::Rng;

/// Declares an enum of named numbers.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item_doc])* $item,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$item),*];

            /// How it is called on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text),* }
            }
        }
    };
}
pub(crate) use names;

names! {
    /// A capacity or a count.
    Size {
        /// Places for tasks.
        Tasks = "tasks",
        /// Tasks of one client.
        Quota = "quota",
        /// Envelopes in one mailbox.
        Mailbox = "mailbox",
        /// Envelopes in the pool.
        Pool = "pool",
        /// Directed envelopes beyond a worker's slots.
        QueueAhead = "queue_ahead",
        /// Housekeeping per poll.
        WorkPerPoll = "work_per_poll",
        /// Ports.
        Ports = "ports",
        /// Room of a port's rings.
        Ring = "ring",
        /// Worker processes.
        Workers = "workers",
        /// Places in the worker table beyond one for each.
        Spare = "spare",
        /// Names that they share.
        Names = "names",
        /// Most slots of a worker.
        Slots = "slots",
        /// Client processes.
        Clients = "clients",
        /// Things that one turn of the dispatcher does at most.
        Drain = "drain",
        /// Milliseconds of a short pass of time.
        Tick = "tick",
        /// Cancels, in a thousand turns of a client.
        Cancels = "cancels",
        /// Tasks with deadlines, in a thousand.
        Deadlines = "deadlines",
        /// Directed tasks, in a thousand.
        Directed = "directed",
        /// Multicasts, in a thousand tasks.
        Multicasts = "multicasts",
        /// Different labels that workers have and tasks ask for.
        Labels = "labels",
        /// Tasks for a label, in a thousand of those that are not directed.
        Labelled = "labelled",
        /// Levels of priority that are used.
        Levels = "levels",
        /// Tasks that run again when they fail, in a thousand.
        Retries = "retries",
        /// Tasks that wait for their worker's return, in a thousand.
        Holds = "holds",
        /// Bytes of all payloads; 0: no limit.
        Bytes = "bytes",
        /// Tasks that some workers are sent beyond their slots.
        Prefetch = "prefetch",
        /// Milliseconds of the rejoin grace.
        Grace = "grace",
    }
}

names! {
    /// Something that goes wrong, so many times in a thousand chances.
    Fault {
        /// A worker process dies, and another takes its name.
        WorkerCrash = "worker_crash",
        /// A worker's connection is cut.
        WorkerCut = "worker_cut",
        /// A worker does nothing for some time.
        WorkerHang = "worker_hang",
        /// A worker does not hear aborts.
        DeafAbort = "deaf_abort",
        /// A task fails.
        TaskFails = "task_fails",
        /// A result is sent twice.
        DoubleReport = "double_report",
        /// A result names another attempt, incarnation or task.
        WrongReport = "wrong_report",
        /// A claimed task cannot be sent.
        SendRefused = "send_refused",
        /// An acknowledgement of a result is lost.
        AckLost = "ack_lost",
        /// A client's connection is cut.
        ClientCut = "client_cut",
        /// A client process dies, and another comes.
        ClientCrash = "client_crash",
        /// A client says goodbye.
        Goodbye = "goodbye",
        /// A client stays away until it is forgotten.
        LongAbsence = "long_absence",
        /// That a line is gone shows late.
        HalfOpen = "half_open",
        /// A link stands still for some time.
        Clog = "clog",
        /// The clock jumps.
        ClockJump = "clock_jump",
        /// The dispatcher does nothing for some time.
        Stall = "stall",
        /// A port does nothing for some time.
        PortStall = "port_stall",
        /// A stale or absurd input.
        Absurd = "absurd",
        /// Somebody holds a worker or releases it.
        HoldWorker = "hold_worker",
        /// Somebody asks a worker to leave.
        DrainWorker = "drain_worker",
        /// Somebody takes tasks away.
        Sweep = "sweep",
    }
}

impl Size {
    /// Below this there is no world.
    pub(crate) const fn least(self) -> u64 {
        match self {
            Self::Pool => 2,
            Self::Ring => 4,
            Self::QueueAhead
            | Self::Cancels
            | Self::Deadlines
            | Self::Directed
            | Self::Multicasts
            | Self::Labelled
            | Self::Retries
            | Self::Holds
            | Self::Bytes
            | Self::Prefetch
            | Self::Grace => 0,
            _ => 1,
        }
    }
}

/// All of it, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What draws the sizes and the faults.
    pub seed: u64,
    /// What draws the history itself.
    pub dice: u64,
    /// How long the part with faults is.
    pub events: u64,
    sizes: [u64; Size::ALL.len()],
    faults: [u64; Fault::ALL.len()],
}

impl Options {
    /// What this seed means.
    #[must_use]
    pub fn draw(seed: u64, events: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5ca1_ab1e);
        let mut options = Self {
            seed,
            dice: seed,
            events,
            sizes: [0; Size::ALL.len()],
            faults: [0; Fault::ALL.len()],
        };
        for &size in Size::ALL {
            options.sizes[size as usize] = options.draw_size(&mut rng, size);
        }
        // Sometimes none at all: then everything must go well. Sometimes nearly all, and often.
        let is_calm = rng.chance(100);
        let (existing, most) = if rng.chance(150) { (800, 5) } else { (400, 4) };
        for &fault in Fault::ALL {
            let exists = rng.chance(existing) && !is_calm;
            let rate = [5, 20, 80, 300, 600][rng.place(most)];
            options.faults[fault as usize] = if exists { rate } else { 0 };
        }
        options
    }

    fn draw_size(&self, rng: &mut Rng, size: Size) -> u64 {
        match size {
            Size::Tasks => rng.between(4, 64),
            Size::Quota => rng.between(1, self.size(Size::Tasks)),
            Size::Mailbox => rng.between(1, 4),
            Size::Pool => rng.between(2, 8),
            Size::QueueAhead => rng.between(0, 3),
            Size::WorkPerPoll => rng.between(1, 8),
            Size::Ports | Size::Slots | Size::Tick => rng.between(1, 3),
            Size::Ring => 4 << rng.below(4),
            // Few of them more often than many.
            Size::Workers => {
                let most = 1 << rng.between(0, 6);
                rng.between(1, most)
            }
            Size::Names => {
                let workers = self.size(Size::Workers);
                if rng.chance(700) {
                    workers
                } else {
                    rng.between(1, workers)
                }
            }
            Size::Spare => rng.between(1, 4),
            Size::Clients => rng.between(1, 5),
            Size::Drain => rng.between(1, 16),
            Size::Cancels => [0, 20, 150, 400][rng.place(4)],
            Size::Deadlines => [0, 100, 600][rng.place(3)],
            Size::Directed => [0, 300, 700, 1000][rng.place(4)],
            Size::Multicasts => [0, 30, 150][rng.place(3)],
            Size::Labels => rng.between(1, 4),
            Size::Labelled => [0, 0, 300, 900][rng.place(4)],
            Size::Levels => [1, 1, 3, 8][rng.place(4)],
            Size::Retries | Size::Holds => [0, 0, 300][rng.place(3)],
            Size::Bytes => [0, 0, 1_500][rng.place(3)],
            Size::Prefetch => [0, 0, 1, 3][rng.place(4)],
            Size::Grace => [0, 0, 10, 60][rng.place(4)],
        }
    }

    /// One of the sizes.
    #[must_use]
    pub const fn size(&self, size: Size) -> u64 {
        self.sizes[size as usize]
    }

    /// How often something goes wrong, in a thousand chances; 0: it does not exist.
    #[must_use]
    pub const fn rate(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// The same with another size.
    #[must_use]
    pub fn with_size(&self, size: Size, value: u64) -> Self {
        let mut other = self.clone();
        other.sizes[size as usize] = value;
        other
    }

    /// The same with another fault rate.
    #[must_use]
    pub fn with_rate(&self, fault: Fault, rate: u64) -> Self {
        let mut other = self.clone();
        other.faults[fault as usize] = rate;
        other
    }

    /// The same, longer or shorter.
    #[must_use]
    pub fn with_events(&self, events: u64) -> Self {
        Self {
            events,
            ..self.clone()
        }
    }

    /// The same, with another order of things.
    #[must_use]
    pub fn with_dice(&self, dice: u64) -> Self {
        Self {
            dice,
            ..self.clone()
        }
    }

    /// Sets one number by its name.
    ///
    /// # Errors
    /// When nothing has that name.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let size = Size::ALL.iter().find(|size| size.name() == name);
        let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
        match (name, size, fault) {
            ("dice", ..) => self.dice = value,
            ("events", ..) => self.events = value,
            (_, Some(size), _) => self.sizes[*size as usize] = value,
            (_, _, Some(fault)) => self.faults[*fault as usize] = value,
            _ => return Err(format!("there is no option '{name}': {self}")),
        }
        Ok(())
    }

    /// Whether a world can be made of these numbers at all.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), String> {
        for &size in Size::ALL {
            if !(size.least()..=1 << 16).contains(&self.size(size)) {
                return Err(format!(
                    "{}: {} is out of range",
                    size.name(),
                    self.size(size)
                ));
            }
        }
        Ok(())
    }

    /// The arguments that give `self`, where plain `--seed` would give `drawn`.
    #[must_use]
    pub fn arguments(&self) -> String {
        let drawn = Self::draw(self.seed, self.events);
        let mut text = format!("--seed {} --events {}", self.seed, self.events);
        if self.dice != drawn.dice {
            text += &format!(" --set dice={}", self.dice);
        }
        for &size in Size::ALL {
            if self.size(size) != drawn.size(size) {
                text += &format!(" --set {}={}", size.name(), self.size(size));
            }
        }
        for &fault in Fault::ALL {
            if self.rate(fault) != drawn.rate(fault) {
                text += &format!(" --set {}={}", fault.name(), self.rate(fault));
            }
        }
        text
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed={} dice={} events={}",
            self.seed, self.dice, self.events
        )?;
        for &size in Size::ALL {
            write!(f, " {}={}", size.name(), self.size(size))?;
        }
        for &fault in Fault::ALL {
            write!(f, " {}={}", fault.name(), self.rate(fault))?;
        }
        Ok(())
    }
}
