//! What a controller may take: file descriptors for so many peers, and memory, libzmq's queues
//! included.

use std::fmt;

use taskyard_core::Limits;
use taskyard_protocol::wire::FRAMES_MAX;
use taskyard_protocol::{OUTPUT_BYTES_MAX, OUTPUT_PIECES_MAX};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// What a process needs beside its peers: standard streams, libzmq's threads, libraries, logs.
const BASE: u64 = 64;

/// Descriptors that one remote client or worker takes: its socket's own signal (two in a libzmq
/// without eventfd) and its connection, and one more while it reconnects.
const PER_SOCKET: u64 = 4;

/// Descriptors of a controller with so many peers at once: one for each connection, and one more
/// for each while all reconnect before the old ones are noticed.
///
/// ```
/// assert!(taskyard_zmq::controller_descriptors(1024) >= 2048);
/// ```
#[must_use]
pub const fn controller_descriptors(peers: u32) -> u64 {
    BASE + 2 * peers as u64
}

/// Descriptors of a process that holds so many remote clients and workers.
///
/// ```
/// assert!(taskyard_zmq::remote_descriptors(1024) >= 3 * 1024);
/// ```
#[must_use]
pub const fn remote_descriptors(sockets: u32) -> u64 {
    BASE + PER_SOCKET * sockets as u64
}

/// Lets this process open that many descriptors, if it may: raises its soft limit, and as root the
/// hard one too. A limit that is high enough stays as it is.
///
/// # Errors
/// [`Error::Descriptors`]: the hard limit is lower, and this process may not raise it.
pub fn raise_descriptor_limit(needed: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |value: Option<u64>| value.is_none_or(|value| value >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    let raised = if enough(limit.maximum) {
        Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        }
    } else {
        Rlimit {
            current: Some(needed),
            maximum: Some(needed),
        }
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| Error::Descriptors {
        needed,
        allowed: limit.maximum.unwrap_or(u64::MAX),
    })
}

/// Bytes of a first frame beside an inline payload of the largest size.
pub(crate) const HEAD_ROOM: usize = 1024;
/// Messages that are read ahead of each peer at least, however large they may be: with fewer, the
/// thread that reads them and the one that handles them wait for each other.
const RECEIVE_MIN: usize = 64;
/// And at most, however small.
const RECEIVE_MAX: usize = 1000;
/// Answers that are no outcomes or tasks, and that a peer may leave unread.
const ANSWERS_MAX: usize = 1024;
/// Pieces of output that a client may leave unread, and the questions among them.
const OUTPUT_MESSAGES_MAX: usize = OUTPUT_PIECES_MAX + 2;
/// What libzmq keeps for a message beside its bytes, with the routing id that stands before it.
const MESSAGE_OVERHEAD: u64 = 2 * 64 + 64;
/// A message without a payload that is shared with the task table: a head and an inline payload.
const COPIED_MAX: u64 = crate::multipart::INLINE_ON_WIRE_MAX as u64 + 512;
/// What libzmq takes for a connection that says nothing: its buffers and its pipes.
const CONNECTION: u64 = 32 << 10;

/// How much libzmq may hold for each connection of a shard.
///
/// It counts messages, not bytes, so each bound follows from a number of bytes and the size of the
/// largest message.
///
/// ```
/// use taskyard_core::Config;
/// use taskyard_zmq::QueueLimits;
/// let limits = Config::default().validate()?;
/// let few = QueueLimits::new(&limits, 16 << 20, 64 << 20);
/// let many = QueueLimits::new(&limits, 1 << 10, 64 << 20);
/// assert!(few.receive_messages < many.receive_messages);
/// # Ok::<(), taskyard_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages of one peer that are read ahead; then TCP slows it down.
    pub receive_messages: usize,
    /// Messages that wait for one client to read them. One that keeps to its window never has so
    /// many; where another is refused one, its session ends, and nothing is lost.
    pub client_messages: usize,
    /// The same for a worker: its registration ends, and its tasks go elsewhere.
    pub worker_messages: usize,
}

impl QueueLimits {
    /// What a controller of this size needs, if it reads about so many bytes of each peer ahead.
    #[must_use]
    pub fn new(limits: &Limits, payload_max: usize, receive_bytes: usize) -> Self {
        let largest = payload_max.saturating_add(HEAD_ROOM);
        let slots = usize::from(limits.slots_max()) + usize::from(limits.prefetch_max());
        Self {
            receive_messages: (receive_bytes / largest).clamp(RECEIVE_MIN, RECEIVE_MAX),
            // What is unread in its window, and as much again of the session before.
            client_messages: 2 * limits.outcomes_unread() as usize
                + ANSWERS_MAX
                + OUTPUT_MESSAGES_MAX,
            // Each of its tasks, asked back and stopped.
            worker_messages: 3 * slots + ANSWERS_MAX,
        }
    }
}

impl Default for QueueLimits {
    /// For the default capacities, payloads of up to 16 MiB, 64 MiB read ahead.
    fn default() -> Self {
        Self {
            receive_messages: RECEIVE_MIN,
            client_messages: 2 * 1024 + ANSWERS_MAX + OUTPUT_MESSAGES_MAX,
            worker_messages: 3 * (1024 + 32) + ANSWERS_MAX,
        }
    }
}

/// The most memory that a controller takes, by what takes it, in bytes.
///
/// It holds for peers that send no more frames in a message than they may: no option of libzmq
/// bounds that. A peer that is let in and sends frames without end is not bounded by anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// The tables of tasks, with a claim word and a payload's place each.
    pub tables: u64,
    /// Payloads and results that are held.
    pub payloads: u64,
    /// Payloads between a shard and the dispatcher.
    pub rings: u64,
    /// What libzmq has read ahead of all peers.
    pub receive: u64,
    /// What waits in libzmq for peers that do not read. Payloads that are held as well are not
    /// counted twice: libzmq shares their bytes.
    pub send: u64,
}

impl MemoryBound {
    /// Of a controller with these capacities, and so many shards.
    #[must_use]
    pub fn new(limits: &Limits, queues: &QueueLimits, payload_max: usize, shards: u16) -> Self {
        let (clients, workers) = (u64::from(limits.clients()), u64::from(limits.workers()));
        let largest = (payload_max + HEAD_ROOM) as u64 + FRAMES_MAX as u64 * MESSAGE_OVERHEAD;
        let copied = COPIED_MAX + MESSAGE_OVERHEAD;
        let cell = (size_of::<crate::ZmqPayload>() + 2 * size_of::<u64>()) as u64;
        let peers = (clients + workers).saturating_mul(largest);
        let unread = |messages: usize| messages as u64 * copied + CONNECTION;
        Self {
            tables: limits.task_bytes_max() + u64::from(limits.tasks()) * cell,
            payloads: limits.stored_bytes_max(),
            rings: u64::from(shards) * RING * largest,
            receive: peers.saturating_mul(queues.receive_messages as u64),
            send: clients * (unread(queues.client_messages) + OUTPUT_BYTES_MAX as u64)
                + workers * unread(queues.worker_messages),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.payloads, self.rings, self.receive, self.send]
            .into_iter()
            .fold(self.tables, u64::saturating_add)
    }
}

/// Events of one shard that may wait for the dispatcher, each with a payload.
const RING: u64 = 4096;

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(
            f,
            "memory at most {} MiB = tables {} + payloads {} + rings {} + read ahead {} \
             + unread {}",
            mib(self.total()),
            mib(self.tables),
            mib(self.payloads),
            mib(self.rings),
            mib(self.receive),
            mib(self.send),
        )
    }
}

#[cfg(test)]
mod tests {
    use taskyard_core::Config;

    use super::*;

    #[test]
    fn a_bound_is_the_sum_of_its_parts_and_no_part_overflows() {
        let huge = Config {
            payload_bytes: 0,
            workers: Config::WORKERS_MAX,
            ..Config::default()
        };
        let limits = huge.validate().unwrap();
        let queues = QueueLimits::new(&limits, usize::MAX >> 1, usize::MAX);
        let bound = MemoryBound::new(&limits, &queues, u32::MAX as usize, 16);
        assert_eq!(bound.total(), u64::MAX, "without a limit there is none");
        let small = Config {
            tasks: 1000,
            clients: 4,
            workers: 8,
            payload_bytes: 64 << 20,
            result_bytes: 16 << 20,
            ..Config::default()
        };
        let limits = small.validate().unwrap();
        let queues = QueueLimits::new(&limits, 16 << 10, 1 << 20);
        let bound = MemoryBound::new(&limits, &queues, 16 << 10, 1);
        assert_eq!(bound.payloads, 80 << 20);
        assert!(bound.receive < 24 << 20, "{bound}");
        assert!(bound.total() < 400 << 20, "{bound}");
        assert!(bound.to_string().starts_with("memory at most "));
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let before = getrlimit(Resource::Nofile);
        raise_descriptor_limit(1).unwrap();
        assert_eq!(getrlimit(Resource::Nofile), before);
    }

    #[test]
    fn more_than_the_kernel_has_is_refused_with_advice() {
        // Above fs.nr_open, which even root cannot pass.
        let error = raise_descriptor_limit(1 << 40).unwrap_err();
        assert!(error.to_string().contains("ulimit -Hn"), "{error}");
    }
}
