//! Queue control on the wire: what may be asked and ordered, by whom, and how it is written down.
//!
//! ```text
//!  Control     header: id the question, code the order, extra the selection, worker │ name?
//!              body, 24 bytes: client u64, task u64, older_than_ms u32, cursor u32
//!  Controlled  header: id the question, code the order, extra 0 or the refusal,
//!              seq where the list goes on or 0, epoch the count │ payload: rows
//! ```
//! Whatever does not need a field says 0 there, and nobody looks at it.

mod answers;

use taskyard_core::{ClientId, Cursor, NameKey, Select, Target, TaskId, WorkerId};
use taskyard_dispatcher::Order;

pub use self::answers::{read_answer, read_worker_descriptions, write_answer};
use crate::wire::{Head, Header, Kind, Message, NAME_MAX, WireError};

/// Bytes of the body of a [`Control`](Kind::Control).
const SELECTION_LEN: usize = 24;

/// What a client may do, by how it has come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Authority {
    /// With its own tasks only.
    #[default]
    Own,
    /// With all tasks, and with the workers: an operator.
    All,
}

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The client's that asks.
    Me,
    /// This client's.
    Client(ClientId),
}

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerRef<'a> {
    /// By its place.
    Id(WorkerId),
    /// By its name.
    Named(&'a str),
}

/// Which topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// Tasks for any worker.
    Any,
    /// Tasks for one worker.
    Worker(WorkerRef<'a>),
    /// Parts of multicasts.
    All,
}

/// Which tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All.
    All,
    /// Those of one client.
    Of(Owner),
    /// One; all parts of it, if it is a multicast.
    Task(Owner, TaskId),
    /// Those that were accepted so many milliseconds ago, or earlier.
    OlderThanMs(u32),
    /// Those of one topic.
    Topic(TopicRef<'a>),
}

/// What a client asks or orders. A client without an operator's [`Authority`] may list, explain,
/// cancel and sweep its own tasks, and nothing else: how deep the queues are and what the workers
/// have to do says what others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlOrder<'a> {
    /// A page of the list of tasks.
    List {
        /// Which.
        which: Which<'a>,
        /// Where the last page said to go on.
        from: Cursor,
    },
    /// How many tasks of a topic wait.
    Depth(TopicRef<'a>),
    /// Why a task is not running, or since when it is.
    Explain(Owner, TaskId),
    /// Cancel a task: its client gets the outcome.
    Cancel(Owner, TaskId),
    /// Take tasks away that have not started: each ends as cancelled.
    Sweep(Which<'a>),
    /// Give this worker nothing until it is released.
    Hold(WorkerRef<'a>),
    /// Give it tasks again.
    Release(WorkerRef<'a>),
    /// Let it finish what it runs, and leave.
    Drain(WorkerRef<'a>),
    /// A page of the list of workers.
    Workers {
        /// Where the last page said to go on.
        from: Cursor,
    },
    /// What the controller has counted, and how long tasks take.
    Statistics,
}

/// Numbers of orders on the wire.
pub(crate) mod code {
    pub(crate) const LIST: u8 = 1;
    pub(crate) const DEPTH: u8 = 2;
    pub(crate) const EXPLAIN: u8 = 3;
    pub(crate) const CANCEL: u8 = 4;
    pub(crate) const SWEEP: u8 = 5;
    pub(crate) const HOLD: u8 = 6;
    pub(crate) const RELEASE: u8 = 7;
    pub(crate) const DRAIN: u8 = 8;
    pub(crate) const WORKERS: u8 = 9;
    pub(crate) const STATISTICS: u8 = 10;
}

/// Numbers of selections on the wire.
mod selection {
    pub(super) const MINE: u16 = 0;
    pub(super) const MY_TASK: u16 = 1;
    pub(super) const ALL: u16 = 2;
    pub(super) const CLIENT: u16 = 3;
    pub(super) const TASK: u16 = 4;
    pub(super) const OLDER: u16 = 5;
    pub(super) const TOPIC_ANY: u16 = 6;
    pub(super) const TOPIC_WORKER: u16 = 7;
    pub(super) const TOPIC_NAMED: u16 = 8;
    pub(super) const TOPIC_ALL: u16 = 9;
}

/// What the dispatcher is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Order(Order),
    Sweep(Select),
}

impl Owner {
    fn id(self, me: ClientId) -> ClientId {
        match self {
            Self::Me => me,
            Self::Client(client) => client,
        }
    }
}

impl WorkerRef<'_> {
    fn target(self, name_key: impl FnOnce(&str) -> NameKey) -> Target {
        match self {
            Self::Id(worker) => Target::Worker(worker),
            Self::Named(name) => Target::Named(name_key(name)),
        }
    }
}

impl TopicRef<'_> {
    fn target(self, name_key: impl FnOnce(&str) -> NameKey) -> Target {
        match self {
            Self::Any => Target::Any,
            Self::Worker(worker) => worker.target(name_key),
            Self::All => Target::All,
        }
    }
}

impl<'a> Which<'a> {
    fn is_of(self, me: ClientId) -> bool {
        match self {
            Self::Of(owner) | Self::Task(owner, _) => owner.id(me) == me,
            Self::All | Self::OlderThanMs(_) | Self::Topic(_) => false,
        }
    }

    fn select(self, me: ClientId, name_key: impl FnOnce(&str) -> NameKey) -> Select {
        match self {
            Self::All => Select::All,
            Self::Of(owner) => Select::Client(owner.id(me)),
            Self::Task(owner, task) => Select::Task {
                client: owner.id(me),
                task,
            },
            Self::OlderThanMs(ms) => Select::OlderThanMs(ms.into()),
            Self::Topic(topic) => Select::Topic(topic.target(name_key)),
        }
    }

    const fn topic(self) -> Option<TopicRef<'a>> {
        match self {
            Self::Topic(topic) => Some(topic),
            _ => None,
        }
    }

    const fn worker(self) -> Option<WorkerRef<'a>> {
        match self {
            Self::Topic(TopicRef::Worker(worker)) => Some(worker),
            _ => None,
        }
    }

    const fn task(self) -> Option<(Owner, TaskId)> {
        match self {
            Self::Task(owner, task) => Some((owner, task)),
            _ => None,
        }
    }
}

impl<'a> ControlOrder<'a> {
    /// Whether this client may give the order.
    pub(crate) fn is_allowed(self, authority: Authority, me: ClientId) -> bool {
        authority == Authority::All
            || match self {
                Self::List { which, .. } | Self::Sweep(which) => which.is_of(me),
                Self::Explain(owner, _) | Self::Cancel(owner, _) => owner.id(me) == me,
                Self::Depth(_)
                | Self::Hold(_)
                | Self::Release(_)
                | Self::Drain(_)
                | Self::Workers { .. }
                | Self::Statistics => false,
            }
    }

    /// The same in the words of the dispatcher.
    pub(crate) fn request(self, me: ClientId, name_key: impl FnOnce(&str) -> NameKey) -> Request {
        Request::Order(match self {
            Self::Sweep(which) => return Request::Sweep(which.select(me, name_key)),
            Self::List { which, from } => Order::List {
                select: which.select(me, name_key),
                from,
            },
            Self::Depth(topic) => Order::Depth(topic.target(name_key)),
            Self::Explain(owner, task) => Order::Explain {
                client: owner.id(me),
                task,
            },
            Self::Cancel(owner, task) => Order::Cancel {
                client: owner.id(me),
                task,
            },
            Self::Hold(worker) => Order::Hold {
                worker: worker.target(name_key),
                held: true,
            },
            Self::Release(worker) => Order::Hold {
                worker: worker.target(name_key),
                held: false,
            },
            Self::Drain(worker) => Order::Drain(worker.target(name_key)),
            Self::Workers { from } => Order::Workers { from },
            Self::Statistics => Order::Statistics,
        })
    }

    /// Its number, and the selection that it is about.
    const fn parts(self) -> (u8, Which<'a>, Cursor) {
        let start = Cursor::from_bits(0);
        match self {
            Self::List { which, from } => (code::LIST, which, from),
            Self::Depth(topic) => (code::DEPTH, Which::Topic(topic), start),
            Self::Explain(owner, task) => (code::EXPLAIN, Which::Task(owner, task), start),
            Self::Cancel(owner, task) => (code::CANCEL, Which::Task(owner, task), start),
            Self::Sweep(which) => (code::SWEEP, which, start),
            Self::Hold(worker) => (code::HOLD, Which::Topic(TopicRef::Worker(worker)), start),
            Self::Release(worker) => (code::RELEASE, Which::Topic(TopicRef::Worker(worker)), start),
            Self::Drain(worker) => (code::DRAIN, Which::Topic(TopicRef::Worker(worker)), start),
            Self::Workers { from } => (code::WORKERS, Which::All, from),
            Self::Statistics => (code::STATISTICS, Which::All, start),
        }
    }

    /// The name in it, if a worker is meant by its name.
    #[must_use]
    pub const fn name(self) -> Option<&'a str> {
        match self.parts().1.worker() {
            Some(WorkerRef::Named(name)) => Some(name),
            _ => None,
        }
    }

    /// The message that gives this order; `None` if a name in it is empty or longer than 255 bytes.
    #[must_use]
    pub fn write(self, question: u64) -> Option<Head> {
        let (code, which, from) = self.parts();
        let mut header = Header::new(Kind::Control);
        (header.id, header.code) = (question, code);
        let (mut client, mut task, mut older_than_ms, mut name) = (0, 0, 0, None);
        let mut owned = |owner, mine, theirs| match owner {
            Owner::Me => mine,
            Owner::Client(id) => {
                client = id.to_bits();
                theirs
            }
        };
        header.extra = match which {
            Which::All => selection::ALL,
            Which::Of(owner) => owned(owner, selection::MINE, selection::CLIENT),
            Which::Task(owner, TaskId(id)) => {
                task = id;
                owned(owner, selection::MY_TASK, selection::TASK)
            }
            Which::OlderThanMs(ms) => {
                older_than_ms = ms;
                selection::OLDER
            }
            Which::Topic(TopicRef::Any) => selection::TOPIC_ANY,
            Which::Topic(TopicRef::All) => selection::TOPIC_ALL,
            Which::Topic(TopicRef::Worker(WorkerRef::Id(worker))) => {
                header.worker = worker.0;
                selection::TOPIC_WORKER
            }
            Which::Topic(TopicRef::Worker(WorkerRef::Named(called))) => {
                name = Some(called);
                selection::TOPIC_NAMED
            }
        };
        let mut head = Head::new(&header);
        if let Some(name) = name {
            if name.is_empty() || name.len() > NAME_MAX {
                return None;
            }
            head = head.name(name);
        }
        let mut body = [0; SELECTION_LEN];
        body[..8].copy_from_slice(&client.to_le_bytes());
        body[8..16].copy_from_slice(&task.to_le_bytes());
        body[16..20].copy_from_slice(&older_than_ms.to_le_bytes());
        body[20..].copy_from_slice(&from.to_bits().to_le_bytes());
        Some(head.body(&body))
    }

    /// The order that a [`Control`](Kind::Control) gives.
    ///
    /// # Errors
    /// Its sender's fault: a number that version 1 does not know, a selection that does not belong
    /// to the order, no name where one is meant, or a body of another length.
    pub fn read(message: &Message<'a>) -> Result<Self, WireError> {
        let body: &[u8; SELECTION_LEN] = message.body.try_into().map_err(|_| WireError::Body)?;
        let which = read_which(message, body)?;
        let from = Cursor::from_bits(u32_at(body, 20));
        let header = &message.header;
        let wrong = WireError::Code(header.code);
        let worker = which.worker().ok_or(wrong);
        let task = which.task().ok_or(wrong);
        Ok(match header.code {
            code::LIST => Self::List { which, from },
            code::DEPTH => Self::Depth(which.topic().ok_or(wrong)?),
            code::EXPLAIN => task.map(|(owner, task)| Self::Explain(owner, task))?,
            code::CANCEL => task.map(|(owner, task)| Self::Cancel(owner, task))?,
            code::SWEEP => Self::Sweep(which),
            code::HOLD => Self::Hold(worker?),
            code::RELEASE => Self::Release(worker?),
            code::DRAIN => Self::Drain(worker?),
            code::WORKERS => Self::Workers { from },
            code::STATISTICS => Self::Statistics,
            _ => return Err(wrong),
        })
    }
}

fn read_which<'a>(
    message: &Message<'a>,
    body: &[u8; SELECTION_LEN],
) -> Result<Which<'a>, WireError> {
    let client = Owner::Client(ClientId::from_bits(u64_at(body, 0)));
    let task = TaskId(u64_at(body, 8));
    let worker = |worker| Which::Topic(TopicRef::Worker(worker));
    Ok(match message.header.extra {
        selection::MINE => Which::Of(Owner::Me),
        selection::MY_TASK => Which::Task(Owner::Me, task),
        selection::ALL => Which::All,
        selection::CLIENT => Which::Of(client),
        selection::TASK => Which::Task(client, task),
        selection::OLDER => Which::OlderThanMs(u32_at(body, 16)),
        selection::TOPIC_ANY => Which::Topic(TopicRef::Any),
        selection::TOPIC_WORKER => worker(WorkerRef::Id(WorkerId(message.header.worker))),
        selection::TOPIC_NAMED => worker(WorkerRef::Named(message.name.ok_or(WireError::Name)?)),
        selection::TOPIC_ALL => Which::Topic(TopicRef::All),
        other => return Err(WireError::Code(other.to_le_bytes()[0])),
    })
}

/// A number at a place that is known to be there.
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ClientId = ClientId::from_bits(0x50003);
    const OTHER: ClientId = ClientId::from_bits(0x60004);

    fn everything() -> Vec<ControlOrder<'static>> {
        let workers = [WorkerRef::Id(WorkerId(7)), WorkerRef::Named("gpu-7")];
        let topics = [TopicRef::Any, TopicRef::All].into_iter();
        let topics: Vec<_> = topics.chain(workers.map(TopicRef::Worker)).collect();
        let owners = [Owner::Me, Owner::Client(ME), Owner::Client(OTHER)];
        let task = TaskId(u64::MAX - 1);
        let mut whiches = vec![Which::All, Which::OlderThanMs(60_000)];
        whiches.extend(owners.map(Which::Of));
        whiches.extend(owners.map(|owner| Which::Task(owner, task)));
        whiches.extend(topics.iter().copied().map(Which::Topic));
        let from = Cursor::from_bits(0xdead_beef);
        let mut orders = vec![ControlOrder::Workers { from }, ControlOrder::Statistics];
        orders.extend(
            whiches
                .iter()
                .map(|&which| ControlOrder::List { which, from }),
        );
        orders.extend(whiches.iter().copied().map(ControlOrder::Sweep));
        orders.extend(topics.into_iter().map(ControlOrder::Depth));
        for owner in owners {
            orders.extend([
                ControlOrder::Explain(owner, task),
                ControlOrder::Cancel(owner, task),
            ]);
        }
        for worker in workers {
            orders.extend([
                ControlOrder::Hold(worker),
                ControlOrder::Release(worker),
                ControlOrder::Drain(worker),
            ]);
        }
        orders
    }

    #[test]
    fn each_order_survives_the_wire() {
        let orders = everything();
        assert_eq!(orders.len(), 2 + 2 * 12 + 4 + 6 + 6);
        for order in orders {
            let head = order.write(42).unwrap();
            let message = Message::decode(head.as_slice()).unwrap();
            assert_eq!(message.header.id, 42);
            assert_eq!(ControlOrder::read(&message), Ok(order));
        }
    }

    #[test]
    fn only_an_operator_reaches_beyond_its_own_tasks() {
        let allowed = everything()
            .into_iter()
            .filter(|order| order.is_allowed(Authority::Own, ME));
        let mine = |owner| owner == Owner::Me || owner == Owner::Client(ME);
        for order in allowed {
            let is_own = match order {
                ControlOrder::List { which, .. } | ControlOrder::Sweep(which) => match which {
                    Which::Of(owner) | Which::Task(owner, _) => mine(owner),
                    _ => false,
                },
                ControlOrder::Explain(owner, _) | ControlOrder::Cancel(owner, _) => mine(owner),
                _ => false,
            };
            assert!(is_own, "{order:?}");
        }
        let own = |order: &ControlOrder<'_>| order.is_allowed(Authority::Own, ME);
        assert_eq!(everything().iter().filter(|order| own(order)).count(), 12);
        let all = |order: &ControlOrder<'_>| order.is_allowed(Authority::All, ME);
        assert!(everything().iter().all(all));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for order in everything() {
            let head = order.write(1).unwrap();
            for at in 2..head.as_slice().len() {
                for value in [0, 1, 9, 10, 0x7f, 0xff] {
                    let mut bytes = head.as_slice().to_vec();
                    bytes[at] = value;
                    if let Ok(message) = Message::decode(&bytes) {
                        let _ = ControlOrder::read(&message);
                    }
                    bytes.truncate(at);
                    if let Ok(message) = Message::decode(&bytes) {
                        assert!(ControlOrder::read(&message).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_sent() {
        let long = "x".repeat(NAME_MAX + 1);
        for name in ["", &long] {
            assert!(
                ControlOrder::Hold(WorkerRef::Named(name))
                    .write(1)
                    .is_none()
            );
        }
    }
}
