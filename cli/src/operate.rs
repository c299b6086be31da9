//! Queue control from the command line: what waits and why, and what is to become of it.

mod print;

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use taskyard_core::{ClientId, Cursor, TaskId, WorkerId};
use taskyard_zmq::{
    Answer, ClientOptions, ConnectionDir, Context, ContextOptions, ControlOrder, OrderRefusal,
    Owner, RemoteClient, Role, TopicRef, Which, WorkerDescription, WorkerRef,
};

use self::print::Printer;

/// How long to leave a controller alone that is busy with other orders.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What an operator asks or orders.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tasks: all of them, or some.
    List {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Count the tasks of a topic that wait, by priority.
    Depth {
        /// any, all, a worker's number or its name.
        #[arg(default_value = "any")]
        topic: Topic,
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Say why a task is not running, or since when it is.
    Explain(TaskArgs),
    /// Cancel one task: its client gets the outcome.
    Cancel(TaskArgs),
    /// Take tasks away that have not started; each ends as cancelled.
    Sweep {
        #[command(flatten)]
        which: SweepArgs,
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Give a worker nothing until it is released; what it runs goes on.
    Hold(WorkerArgs),
    /// Give a worker that is held tasks again.
    Release(WorkerArgs),
    /// Let a worker finish what it runs, and leave.
    Drain(WorkerArgs),
    /// List the workers.
    Workers {
        #[command(flatten)]
        link: LinkArgs,
    },
}

/// How to reach the controller, and how to say what it says.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The operator's connection file, as the controller has written it.
    #[arg(long, value_name = "FILE", default_value_os_t = default_file())]
    connection: PathBuf,
    /// How long to wait for the controller.
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
    /// Print an object of JSON a line.
    #[arg(long)]
    json: bool,
}

fn default_file() -> PathBuf {
    ConnectionDir::file_of(&ConnectionDir::default_path(), Role::Operator)
}

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// The client, as `list` shows it.
    client: u64,
    /// The client's number for the task.
    task: u64,
    #[command(flatten)]
    link: LinkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The worker's number or its name.
    worker: Worker,
    #[command(flatten)]
    link: LinkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Those of this client, as `list` shows it.
    #[arg(long, conflicts_with_all = ["older_than_ms", "topic"])]
    client: Option<u64>,
    /// This one of the client's.
    #[arg(long, requires = "client")]
    task: Option<u64>,
    /// Those that were accepted so long ago.
    #[arg(long, conflicts_with = "topic")]
    older_than_ms: Option<u32>,
    /// Those of one topic: any, all, a worker's number or its name.
    #[arg(long)]
    topic: Option<Topic>,
}

/// To take everything away must be said.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// All of them.
    #[arg(long, conflicts_with_all = ["client", "older_than_ms", "topic"],
        required_unless_present_any = ["client", "older_than_ms", "topic"])]
    all: bool,
    #[command(flatten)]
    which: WhichArgs,
}

impl WhichArgs {
    fn which(&self) -> Which<'_> {
        let owner = |client| Owner::Client(ClientId::from_bits(client));
        match self {
            Self {
                client: Some(client),
                task: Some(task),
                ..
            } => Which::Task(owner(*client), TaskId(*task)),
            Self {
                client: Some(client),
                ..
            } => Which::Of(owner(*client)),
            Self {
                older_than_ms: Some(ms),
                ..
            } => Which::OlderThanMs(*ms),
            Self {
                topic: Some(topic), ..
            } => Which::Topic(topic.as_ref()),
            _ => Which::All,
        }
    }
}

/// A worker by its number or its name: what has digits only is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    Id(u32),
    Named(String),
}

impl Worker {
    fn as_ref(&self) -> WorkerRef<'_> {
        match self {
            Self::Id(id) => WorkerRef::Id(WorkerId(*id)),
            Self::Named(name) => WorkerRef::Named(name),
        }
    }
}

impl FromStr for Worker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 255 {
            return Err(format!(
                "a worker's name of {} bytes: it has at least 1 and at most 255",
                text.len()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Named(text.to_owned()));
        }
        let id = text.parse().map(Self::Id);
        id.map_err(|_| format!("'{text}' is no worker's number: it is too large"))
    }
}

/// A topic as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Any,
    All,
    Of(Worker),
}

impl Topic {
    fn as_ref(&self) -> TopicRef<'_> {
        match self {
            Self::Any => TopicRef::Any,
            Self::All => TopicRef::All,
            Self::Of(worker) => TopicRef::Worker(worker.as_ref()),
        }
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "any" => Self::Any,
            "all" => Self::All,
            worker => Self::Of(worker.parse()?),
        })
    }
}

/// Why nothing came of it; each is one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Transport(#[from] taskyard_zmq::Error),
    #[error("{0}")]
    Refused(OrderRefusal),
    #[error("the controller answers something else than was asked: is it of another version?")]
    Odd,
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs one command.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let start = Cursor::default();
    let (link, order) = match command {
        Command::List { which, link } => {
            let which = which.which();
            (link, ControlOrder::List { which, from: start })
        }
        Command::Depth { topic, link } => (link, ControlOrder::Depth(topic.as_ref())),
        Command::Explain(args) => (&args.link, args.order(ControlOrder::Explain)),
        Command::Cancel(args) => (&args.link, args.order(ControlOrder::Cancel)),
        Command::Sweep { which, link } => (link, ControlOrder::Sweep(which.which.which())),
        Command::Hold(args) => (&args.link, ControlOrder::Hold(args.worker.as_ref())),
        Command::Release(args) => (&args.link, ControlOrder::Release(args.worker.as_ref())),
        Command::Drain(args) => (&args.link, ControlOrder::Drain(args.worker.as_ref())),
        Command::Workers { link } => (link, ControlOrder::Workers { from: start }),
    };
    let timeout = Duration::from_millis(link.timeout_ms);
    let mut options = ClientOptions::from_connection_file(&link.connection)?;
    options.connect_timeout = timeout;
    let context = Context::new(ContextOptions::default())?;
    let mut client = RemoteClient::connect(&context, &options)?;
    let mut out = Printer::new(io::BufWriter::new(io::stdout().lock()), link.json);
    match give(&mut client, order, timeout, &mut out) {
        // Whoever has read enough may go away: `taskyard list | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl TaskArgs {
    fn order(
        &self,
        order: impl FnOnce(Owner, TaskId) -> ControlOrder<'static>,
    ) -> ControlOrder<'static> {
        let owner = Owner::Client(ClientId::from_bits(self.client));
        order(owner, TaskId(self.task))
    }
}

/// Gives an order, page by page if it has pages, and prints what is said to it.
fn give(
    client: &mut RemoteClient,
    mut order: ControlOrder<'_>,
    timeout: Duration,
    out: &mut Printer<impl Write>,
) -> Result<(), Failure> {
    loop {
        let (answer, described) = ask(client, order, timeout)?;
        let next = match (&mut order, answer) {
            (_, Answer::Refused(refusal)) => return Err(Failure::Refused(refusal)),
            (ControlOrder::List { from, .. }, Answer::Tasks(page)) => {
                out.tasks(&page.rows)?;
                page.next.map(|next| *from = next)
            }
            (ControlOrder::Workers { from }, Answer::Workers(page)) => {
                out.workers(&page.rows, &described)?;
                page.next.map(|next| *from = next)
            }
            (ControlOrder::Depth(_), Answer::Depth { waiting, pooled }) => {
                out.depth(&waiting, pooled)?;
                None
            }
            (ControlOrder::Explain(..), Answer::Explained { explanation, at }) => {
                out.explanation(explanation, at)?;
                None
            }
            (ControlOrder::Sweep(_), Answer::Swept(touched)) => {
                out.swept(touched)?;
                None
            }
            (ControlOrder::Cancel(..), Answer::Done) => {
                out.done("cancelled")?;
                None
            }
            (ControlOrder::Hold(_), Answer::Done) => {
                out.done("held")?;
                None
            }
            (ControlOrder::Release(_), Answer::Done) => {
                out.done("released")?;
                None
            }
            (ControlOrder::Drain(_), Answer::Done) => {
                out.done("draining")?;
                None
            }
            _ => return Err(Failure::Odd),
        };
        if next.is_none() {
            return Ok(out.finish()?);
        }
    }
}

/// Asks, again for a while if the controller is busy with other orders.
fn ask(
    client: &mut RemoteClient,
    order: ControlOrder<'_>,
    timeout: Duration,
) -> Result<(Answer, Vec<WorkerDescription>), Failure> {
    let due = Instant::now() + timeout;
    loop {
        match client.ask_described(order, timeout)? {
            (Answer::Refused(OrderRefusal::Busy), _) if Instant::now() < due => {
                std::thread::sleep(BUSY_PAUSE);
            }
            answer => return Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_numbers_and_the_rest_are_names() {
        assert_eq!("7".parse(), Ok(Worker::Id(7)));
        assert_eq!("gpu-7".parse(), Ok(Worker::Named("gpu-7".into())));
        assert_eq!("all".parse(), Ok(Topic::All));
        assert_eq!("any".parse(), Ok(Topic::Any));
        assert_eq!("0".parse(), Ok(Topic::Of(Worker::Id(0))));
        assert!(
            "99999999999"
                .parse::<Worker>()
                .unwrap_err()
                .contains("too large")
        );
        assert!("".parse::<Topic>().unwrap_err().contains("of 0 bytes"));
    }
}
