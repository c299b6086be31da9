//! How large a scheduler is: what was asked for, and what follows from it.

use crate::error::ConfigError;
use crate::id::{ClientId, TaskHandle};
use crate::index::Index;
use crate::task::TaskRecord;

/// What a scheduler is asked to hold. Turn it into [`Limits`] with [`validate`](Self::validate).
///
/// ```
/// use taskyard_core::Config;
/// let limits = Config { tasks: 1_000, ..Config::default() }.validate()?;
/// assert_eq!(limits.tasks(), 1_000);
/// assert_eq!(limits.quota(), 500);
/// assert!(Config { pool: 0, ..Config::default() }.validate().is_err());
/// # Ok::<(), taskyard_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Tasks at once: waiting, running, or with an outcome that is not acknowledged.
    pub tasks: u32,
    /// Clients at once, those that may still come back included.
    pub clients: u32,
    /// Places in the worker table: workers that are attached, that wait for their name's last
    /// attachment to leave, or that have left and whose mailbox is not drained yet.
    pub workers: u32,
    /// Different labels that attached workers have or that tasks ask for.
    pub labels: u32,
    /// Attachments of transports, in-process clients and in-process workers.
    pub ports: u16,
    /// Slots of one worker; a registration that asks for more is admitted with so many. Each takes
    /// some memory at its port, and whoever has most free slots is given most tasks.
    pub slots_max: u16,
    /// Tasks that one worker may have on the wire beyond its slots; a registration that asks for
    /// more is admitted with so many.
    pub prefetch_max: u16,
    /// Envelopes in one worker's mailbox. Those count that run: a worker has no more tasks at once
    /// that came through its mailbox, however many slots it has.
    pub mailbox: u32,
    /// Envelopes in the shared pool.
    pub pool: u32,
    /// Tasks and unacknowledged outcomes of one client; 0: half of `tasks`.
    pub quota: u32,
    /// Bytes of all payloads and results that are held, past which no new task is taken; 0: no
    /// limit.
    pub payload_bytes: u64,
    /// Bytes of results that are held beyond that. A result that finds them full is dropped, and
    /// its attempt counts as failed.
    pub result_bytes: u64,
    /// Bytes of the payloads and results of one client, past which none of its tasks is taken; 0:
    /// half of `payload_bytes`.
    pub quota_bytes: u64,
    /// Outcomes that a client is sent before it acknowledges one; the others wait here. At least
    /// [`OUTCOMES_UNREAD_MIN`](Self::OUTCOMES_UNREAD_MIN).
    pub outcomes_unread: u32,
    /// Bytes of results that a client is sent before it acknowledges one.
    pub outcome_bytes_unread: u64,
    /// How long the outcomes of a client that is gone wait for its return, in milliseconds.
    pub keep_outcomes_ms: u64,
    /// How long a worker may take to answer an abort before it counts as lost, in milliseconds.
    pub abort_grace_ms: u64,
    /// How long a worker whose connection is gone is only suspected, in milliseconds: what it runs
    /// is not given to others meanwhile. 0: it is lost at once.
    pub rejoin_grace_ms: u64,
    /// The same for a worker whose connection was lost when this controller itself had not run for
    /// a while, in milliseconds: our own absence is held against nobody.
    pub stall_grace_ms: u64,
    /// How long a controller that was started anew waits for what workers bring from before, in
    /// milliseconds: results for tasks that may not run again, and tasks for such results.
    pub restart_grace_ms: u64,
    /// Directed envelopes that a worker may have waiting beyond its slots.
    pub queue_ahead: u32,
    /// Steps of housekeeping that one poll or one time-out may do.
    pub work_per_poll: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tasks: 1_000_000,
            clients: 256,
            workers: 4096,
            labels: 256,
            ports: 256,
            slots_max: 1024,
            prefetch_max: 32,
            mailbox: 64,
            pool: 4096,
            quota: 0,
            payload_bytes: 4 << 30,
            result_bytes: 1 << 30,
            quota_bytes: 0,
            outcomes_unread: 1024,
            outcome_bytes_unread: 32 << 20,
            keep_outcomes_ms: 300_000,
            abort_grace_ms: 5_000,
            rejoin_grace_ms: 0,
            stall_grace_ms: 10_000,
            restart_grace_ms: 10_000,
            queue_ahead: 8,
            work_per_poll: 64,
        }
    }
}

impl Config {
    /// The most workers that the 16 bits of a claim word tell apart.
    pub const WORKERS_MAX: u32 = u16::MAX as u32;
    /// The fewest outcomes that a client must be able to have unread: it may keep so many before it
    /// acknowledges, and its controller some more before it passes that on.
    pub const OUTCOMES_UNREAD_MIN: u32 = 128;
    /// The most labels.
    pub const LABELS_MAX: u32 = 1 << 16;

    /// Checks every number, and fixes those that were left open.
    ///
    /// # Errors
    /// The first number that makes no sense, with what would.
    pub fn validate(self) -> Result<Limits, ConfigError> {
        let Self {
            tasks,
            clients,
            workers,
            pool,
            ..
        } = self;
        if !(1..=TaskHandle::INDEX_COUNT).contains(&tasks) {
            return Err(ConfigError::Tasks {
                tasks,
                max: TaskHandle::INDEX_COUNT,
            });
        }
        if !(1..=ClientId::INDEX_COUNT).contains(&clients) {
            return Err(ConfigError::Clients {
                clients,
                max: ClientId::INDEX_COUNT,
            });
        }
        if !(1..=Self::WORKERS_MAX).contains(&workers) {
            return Err(ConfigError::Workers {
                workers,
                max: Self::WORKERS_MAX,
            });
        }
        if self.labels > Self::LABELS_MAX {
            return Err(ConfigError::Labels {
                labels: self.labels,
                max: Self::LABELS_MAX,
            });
        }
        if self.ports == 0 {
            return Err(ConfigError::Ports);
        }
        if self.mailbox == 0 {
            return Err(ConfigError::Mailbox);
        }
        if pool < 2 {
            return Err(ConfigError::Pool { pool });
        }
        if self.work_per_poll == 0 {
            return Err(ConfigError::WorkPerPoll);
        }
        let quota = if self.quota == 0 {
            (tasks / 2).max(1)
        } else {
            self.quota
        };
        if quota > tasks {
            return Err(ConfigError::Quota { quota, tasks });
        }
        let payload_bytes = match self.payload_bytes {
            0 => u64::MAX,
            bytes => bytes,
        };
        let quota_bytes = match self.quota_bytes {
            0 if payload_bytes == u64::MAX => u64::MAX,
            0 => payload_bytes / 2,
            bytes => bytes,
        };
        if self.outcomes_unread < Self::OUTCOMES_UNREAD_MIN {
            return Err(ConfigError::OutcomesUnread {
                outcomes: self.outcomes_unread,
                min: Self::OUTCOMES_UNREAD_MIN,
            });
        }
        Ok(Limits {
            config: Self {
                quota,
                payload_bytes,
                quota_bytes,
                outcome_bytes_unread: self.outcome_bytes_unread.max(1),
                ..self
            },
        })
    }
}

/// The capacities of a scheduler: a [`Config`] that was found to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    config: Config,
}

impl Limits {
    /// Tasks at once.
    #[must_use]
    pub const fn tasks(&self) -> u32 {
        self.config.tasks
    }

    /// Clients at once.
    #[must_use]
    pub const fn clients(&self) -> u32 {
        self.config.clients
    }

    /// Places in the worker table; every [`WorkerId`](crate::WorkerId) is below it.
    #[must_use]
    pub const fn workers(&self) -> u32 {
        self.config.workers
    }

    /// Labels at once.
    #[must_use]
    pub const fn labels(&self) -> u32 {
        self.config.labels
    }

    /// Ports; every [`PortId`](crate::PortId) is below it.
    #[must_use]
    pub const fn ports(&self) -> u16 {
        self.config.ports
    }

    /// Envelopes in one mailbox. No worker's window is larger, so a mailbox of this size never
    /// overflows.
    #[must_use]
    pub const fn mailbox(&self) -> u32 {
        self.config.mailbox
    }

    /// Slots of one worker.
    #[must_use]
    pub const fn slots_max(&self) -> u16 {
        // None at all would be no worker.
        if self.config.slots_max == 0 {
            1
        } else {
            self.config.slots_max
        }
    }

    /// Tasks that one worker may have on the wire beyond its slots.
    #[must_use]
    pub const fn prefetch_max(&self) -> u16 {
        self.config.prefetch_max
    }

    /// Envelopes in the pool. Its window is never larger, so a pool of this size never overflows.
    #[must_use]
    pub const fn pool(&self) -> u32 {
        self.config.pool
    }

    /// Tasks and unacknowledged outcomes of one client.
    #[must_use]
    pub const fn quota(&self) -> u32 {
        self.config.quota
    }

    /// Bytes of all payloads and results, past which no new task is taken.
    #[must_use]
    pub const fn payload_bytes(&self) -> u64 {
        self.config.payload_bytes
    }

    /// Bytes of results that are held beyond those.
    #[must_use]
    pub const fn result_bytes(&self) -> u64 {
        self.config.result_bytes
    }

    /// Bytes of the payloads and results of one client, past which none of its tasks is taken.
    #[must_use]
    pub const fn quota_bytes(&self) -> u64 {
        self.config.quota_bytes
    }

    /// Outcomes that a client is sent before it acknowledges one.
    #[must_use]
    pub const fn outcomes_unread(&self) -> u32 {
        self.config.outcomes_unread
    }

    /// Bytes of results that a client is sent before it acknowledges one; the last of them may go
    /// beyond.
    #[must_use]
    pub const fn outcome_bytes_unread(&self) -> u64 {
        self.config.outcome_bytes_unread
    }

    /// Bytes of all payloads and results at most.
    #[must_use]
    pub const fn stored_bytes_max(&self) -> u64 {
        self.config
            .payload_bytes
            .saturating_add(self.config.result_bytes)
    }

    /// How long outcomes wait for a client's return, in milliseconds.
    #[must_use]
    pub const fn keep_outcomes_ms(&self) -> u64 {
        self.config.keep_outcomes_ms
    }

    /// How long a worker may take to answer an abort, in milliseconds.
    #[must_use]
    pub const fn abort_grace_ms(&self) -> u64 {
        self.config.abort_grace_ms
    }

    /// How long a worker whose connection is gone is only suspected, in milliseconds.
    #[must_use]
    pub const fn rejoin_grace_ms(&self) -> u64 {
        self.config.rejoin_grace_ms
    }

    /// How long a worker is only suspected whose connection was lost when this controller had not
    /// run for a while, in milliseconds.
    #[must_use]
    pub const fn stall_grace_ms(&self) -> u64 {
        // Not shorter than when there was nothing special about it.
        if self.config.stall_grace_ms < self.config.rejoin_grace_ms {
            self.config.rejoin_grace_ms
        } else {
            self.config.stall_grace_ms
        }
    }

    /// How long results from before a restart are waited for and kept, in milliseconds.
    #[must_use]
    pub const fn restart_grace_ms(&self) -> u64 {
        self.config.restart_grace_ms
    }

    /// Directed envelopes that a worker may have waiting beyond its slots.
    #[must_use]
    pub const fn queue_ahead(&self) -> u32 {
        self.config.queue_ahead
    }

    /// Steps of housekeeping per poll.
    #[must_use]
    pub const fn work_per_poll(&self) -> u32 {
        self.config.work_per_poll
    }

    /// Directed envelopes that a worker with so many slots may have at once.
    pub(crate) fn window(&self, slots: u16, prefetch: u16) -> u32 {
        // One for each slot that may run it, and some that are there when a slot becomes free.
        // What is on the wire beyond the slots counts among these.
        let ahead = self.queue_ahead().max(prefetch.into());
        (u32::from(slots) + ahead).clamp(1, self.mailbox())
    }

    /// Memory of all task tables when every place has been used, in bytes. Until then the pages of
    /// places that nobody had are not touched.
    #[must_use]
    pub const fn task_bytes_max(&self) -> u64 {
        // One record per task,
        let records = self.config.tasks as u64 * size_of::<TaskRecord>() as u64;
        // and two words of the index that finds it by its client's number.
        records + Index::slots_for(self.config.tasks) as u64 * size_of::<u32>() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_makes_sense() {
        let limits = Config::default().validate().expect("the default");
        assert_eq!(limits.quota(), 500_000);
        assert!(limits.task_bytes_max() / u64::from(limits.tasks()) <= 256);
    }

    #[test]
    fn each_number_is_checked() {
        let base = Config::default();
        let cases = [
            (
                Config { tasks: 0, ..base },
                ConfigError::Tasks {
                    tasks: 0,
                    max: 1 << 24,
                },
            ),
            (
                Config { clients: 0, ..base },
                ConfigError::Clients {
                    clients: 0,
                    max: 1 << 16,
                },
            ),
            (
                Config {
                    workers: 65_536,
                    ..base
                },
                ConfigError::Workers {
                    workers: 65_536,
                    max: 65_535,
                },
            ),
            (
                Config {
                    labels: 65_537,
                    ..base
                },
                ConfigError::Labels {
                    labels: 65_537,
                    max: 65_536,
                },
            ),
            (Config { ports: 0, ..base }, ConfigError::Ports),
            (Config { mailbox: 0, ..base }, ConfigError::Mailbox),
            (Config { pool: 1, ..base }, ConfigError::Pool { pool: 1 }),
            (
                Config {
                    work_per_poll: 0,
                    ..base
                },
                ConfigError::WorkPerPoll,
            ),
            (
                Config {
                    tasks: 4,
                    quota: 5,
                    ..base
                },
                ConfigError::Quota { quota: 5, tasks: 4 },
            ),
        ];
        for (config, error) in cases {
            assert_eq!(config.validate(), Err(error));
        }
    }

    #[test]
    fn a_window_fits_the_mailbox() {
        let limits = Config {
            mailbox: 4,
            ..Config::default()
        }
        .validate()
        .expect("sense");
        assert_eq!(limits.window(u16::MAX, 0), 4);
        let narrow = Config {
            queue_ahead: 0,
            ..Config::default()
        }
        .validate()
        .expect("sense");
        assert_eq!((narrow.window(0, 0), narrow.window(3, 2)), (1, 5));
    }
}
