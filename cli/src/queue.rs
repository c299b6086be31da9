//! Queue control from the command line: what waits and why, and what is to become of it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use taskyard_core::{ClientId, Cursor, TaskId};
use taskyard_zmq::{
    Answer, ControlOrder, OrderRefusal, Owner, RemoteClient, Role, Which, WorkerDescription,
};

use crate::connect::LinkArgs;
use crate::failure::Failure;
use crate::print::Printer;
use crate::words::{Span, Topic, Worker};

/// How long to leave a controller alone that is busy with other orders.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What an operator asks of the queue, or orders.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tasks: all of them, or some.
    List {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Count the tasks of a topic that wait, by priority.
    Depth {
        /// any, all, a worker's number or its name.
        #[arg(default_value = "any")]
        topic: Topic,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Cancel one task: its client gets the outcome.
    Remove(TaskArgs),
    /// Take tasks away that have not started; each ends as cancelled.
    Purge {
        #[command(flatten)]
        which: PurgeArgs,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Give a worker nothing until it is released; what it runs goes on.
    Hold(WorkerArgs),
    /// Give a worker that is held tasks again.
    Release(WorkerArgs),
    /// Let a worker finish what it runs, and leave.
    Drain(WorkerArgs),
}

/// How to ask, and how to say what the answer is.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    /// Print an object of JSON a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// The client, as `taskyard queue list` shows it.
    client: u64,
    /// The client's number for the task.
    task: u64,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The worker's number or its name.
    worker: Worker,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Those of this client, as the list shows it.
    #[arg(long, value_name = "CLIENT", conflicts_with_all = ["older_than", "topic"])]
    client: Option<u64>,
    /// This one of the client's.
    #[arg(long, value_name = "TASK", requires = "client")]
    task: Option<u64>,
    /// Those that were accepted so long ago: 30s, 10m, 2h.
    #[arg(long, value_name = "TIME", conflicts_with = "topic")]
    older_than: Option<Span>,
    /// Those of one topic: any, all, a worker's number or its name.
    #[arg(long)]
    topic: Option<Topic>,
}

/// To take everything away must be said.
#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// All of them.
    #[arg(long, conflicts_with_all = ["client", "older_than", "topic"],
        required_unless_present_any = ["client", "older_than", "topic"])]
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
                older_than: Some(age),
                ..
            } => Which::OlderThanMs(age.as_ms()),
            Self {
                topic: Some(topic), ..
            } => Which::Topic(topic.as_ref()),
            _ => Which::All,
        }
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

/// Runs one command.
///
/// # Errors
/// The controller cannot be asked, or refuses.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let (ask, order) = match command {
        Command::List { which, ask } => {
            let (which, from) = (which.which(), Cursor::default());
            (ask, ControlOrder::List { which, from })
        }
        Command::Depth { topic, ask } => (ask, ControlOrder::Depth(topic.as_ref())),
        Command::Remove(args) => (&args.ask, args.order(ControlOrder::Cancel)),
        Command::Purge { which, ask } => (ask, ControlOrder::Sweep(which.which.which())),
        Command::Hold(args) => (&args.ask, ControlOrder::Hold(args.worker.as_ref())),
        Command::Release(args) => (&args.ask, ControlOrder::Release(args.worker.as_ref())),
        Command::Drain(args) => (&args.ask, ControlOrder::Drain(args.worker.as_ref())),
    };
    ask.print(order)
}

/// Says why a task is not running.
///
/// # Errors
/// As for [`run`].
pub(crate) fn explain(args: &TaskArgs) -> Result<(), Failure> {
    args.ask.print(args.order(ControlOrder::Explain))
}

/// Lists the workers.
///
/// # Errors
/// As for [`run`].
pub(crate) fn workers(ask: &AskArgs) -> Result<(), Failure> {
    let from = Cursor::default();
    ask.print(ControlOrder::Workers { from })
}

impl AskArgs {
    fn print(&self, order: ControlOrder<'_>) -> Result<(), Failure> {
        let mut client = self.link.client(&[Role::Operator])?;
        let mut out = Printer::new(io::BufWriter::new(io::stdout().lock()), self.json);
        give(&mut client, order, self.link.patience(), &mut out)
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
        let (answer, described) = ask_described(client, order, timeout)?;
        let (printed, next) = match (&mut order, answer) {
            (ControlOrder::List { from, .. }, Answer::Tasks(page)) => {
                (out.tasks(&page.rows), page.next.map(|next| *from = next))
            }
            (ControlOrder::Workers { from }, Answer::Workers(page)) => (
                out.workers(&page.rows, &described),
                page.next.map(|next| *from = next),
            ),
            (ControlOrder::Depth(_), Answer::Depth { waiting, pooled }) => {
                (out.depth(&waiting, pooled), None)
            }
            (ControlOrder::Explain(..), Answer::Explained { explanation, at }) => {
                (out.explanation(explanation, at), None)
            }
            (ControlOrder::Sweep(_), Answer::Swept(touched)) => (out.purged(touched), None),
            (ControlOrder::Cancel(..), Answer::Done) => (out.done("removed"), None),
            (ControlOrder::Hold(_), Answer::Done) => (out.done("held"), None),
            (ControlOrder::Release(_), Answer::Done) => (out.done("released"), None),
            (ControlOrder::Drain(_), Answer::Done) => (out.done("draining"), None),
            _ => return Err(Failure::Odd),
        };
        printed.map_err(Failure::Output)?;
        if next.is_none() {
            return out.finish().map_err(Failure::Output);
        }
    }
}

/// Asks, again for a while if the controller is busy with other orders. Beside a list of workers
/// comes who they are.
///
/// # Errors
/// It does not answer, or refuses.
pub(crate) fn ask_described(
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
            (Answer::Refused(refusal), _) => return Err(Failure::Refused(refusal)),
            answer => return Ok(answer),
        }
    }
}
