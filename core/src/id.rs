//! Names of things: newtypes, so that no bare integer crosses a function.

use core::fmt;

/// The client's own number for a task; unique among the tasks of one client that have no outcome
/// yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// Which place of the slab a task lives in (24 bits), and which tenant of it (generation, 40 bits).
///
/// ```
/// use taskyard_core::TaskHandle;
/// let handle = TaskHandle::new(7, 3);
/// assert_eq!((handle.index(), handle.generation()), (7, 3));
/// assert_eq!(TaskHandle::from_bits(handle.to_bits()), handle);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskHandle(u64);

impl TaskHandle {
    /// Bits of the index: at most 16,777,216 tasks at once.
    pub const INDEX_BITS: u32 = 24;
    /// The largest number of tasks that a slab may hold.
    pub const INDEX_COUNT: u32 = 1 << Self::INDEX_BITS;
    const GENERATION_MASK: u64 = (1 << (64 - Self::INDEX_BITS)) - 1;

    /// Packs an index and a generation; bits beyond 24 and 40 are dropped.
    #[must_use]
    pub const fn new(index: u32, generation: u64) -> Self {
        let index = (index & (Self::INDEX_COUNT - 1)) as u64;
        Self(((generation & Self::GENERATION_MASK) << Self::INDEX_BITS) | index)
    }

    /// The place in the slab.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 & (Self::INDEX_COUNT as u64 - 1)) as u32
    }

    /// How many tenants that place had before.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 >> Self::INDEX_BITS
    }

    /// The form in which it travels.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits); any number is a handle, most are stale.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskHandle({}g{})", self.index(), self.generation())
    }
}

/// A worker's place in the worker table: the `N` of `cluster.worker<N>`.
///
/// Each registration gets a fresh one; it is given out again only when nothing remembers its last
/// holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

/// The number of a registration: grows with every one that the controller admits, whatever its
/// name, so it tells any two incarnations apart and later ones of a name are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// A worker's stable name, as a 128-bit keyed digest: the core knows no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub u128);

/// How urgent a task is: 0 to 7, the most urgent.
///
/// ```
/// use taskyard_core::Priority;
/// assert!(Priority::new(5) > Priority::DEFAULT);
/// assert_eq!(Priority::new(200), Priority::MAX);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many levels there are.
    pub const COUNT: usize = 8;
    /// The least urgent level.
    pub const MIN: Self = Self(0);
    /// The most urgent level.
    pub const MAX: Self = Self(Self::COUNT as u8 - 1);
    /// That of a task that says nothing: some levels are less urgent.
    pub const DEFAULT: Self = Self(3);

    /// This level, or the most urgent one if there is none so high.
    #[must_use]
    pub const fn new(level: u8) -> Self {
        if level < Self::COUNT as u8 {
            Self(level)
        } else {
            Self::MAX
        }
    }

    /// The level as a number.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A label that some workers have and a task may ask for, as a keyed digest: the core knows no
/// bytes. Zero is no label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(pub u64);

/// The labels of one worker, each once.
///
/// ```
/// use taskyard_core::{LabelKey, Labels};
/// let labels = Labels::new([LabelKey(7), LabelKey(7), LabelKey(0), LabelKey(9)]);
/// assert!(labels.iter().eq([LabelKey(7), LabelKey(9)]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels([LabelKey; Self::MAX]);

impl Labels {
    /// The most that one worker may announce.
    pub const MAX: usize = 8;
    /// No labels.
    pub const NONE: Self = Self([LabelKey(0); Self::MAX]);

    /// The first [`MAX`](Self::MAX) different labels of these.
    #[must_use]
    pub fn new(labels: impl IntoIterator<Item = LabelKey>) -> Self {
        let mut all = Self::NONE;
        let mut len = 0;
        for label in labels {
            let fresh = label != LabelKey(0) && !all.0.contains(&label);
            if fresh && len < Self::MAX {
                all.0[len] = label;
                len += 1;
            }
        }
        all
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = LabelKey> {
        let labels = self.0.into_iter();
        labels.take_while(|label| *label != LabelKey(0))
    }
}

/// The controller's record of a client: 16 bits of index, 48 bits of a number that is never
/// repeated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// The largest number of clients at once.
    pub const INDEX_COUNT: u32 = 1 << 16;

    /// Packs an index and a record number; bits beyond 16 and 48 are dropped.
    #[must_use]
    pub const fn new(index: u32, record: u64) -> Self {
        Self((record << 16) | (index & 0xffff) as u64)
    }

    /// The place in the client table.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    /// The number that no other record of this controller has or had.
    #[must_use]
    pub const fn record(self) -> u64 {
        self.0 >> 16
    }

    /// The form in which it travels.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({}r{})", self.index(), self.record())
    }
}

/// Which attachment to the dispatcher: one shard, one in-process client, one in-process worker
/// host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// A transport's own number for a peer that has no id yet; comes back with the answer, never
/// interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The n-th execution of a task, from 1: a fencing token, only the latest one's result counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u8);

/// The number of a publish of a slot: what an envelope must still match to be claimed. 40 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Bits of a stamp in a claim word.
    pub const BITS: u32 = 40;

    /// The stamp of the next publish.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) & ((1 << Self::BITS) - 1))
    }
}
