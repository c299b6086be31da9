//! `taskyard submit`: a command as a task. It waits for the end and ends in the same way.

mod live;
mod said;

use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, io};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use taskyard_core::{Epoch, Outcome, Priority, Submit, Target, TaskId, WorkerId};
use taskyard_zmq::{Answer, ClientEvent, ControlOrder, Owner, RemoteClient, Role, ZmqPayload};

use self::live::Piece;
use self::said::{End, Teller};
use crate::connect::LinkArgs;
use crate::exit;
use crate::failure::Failure;
use crate::payload::CommandText;
use crate::print;
use crate::print::tell;
use crate::words::{self, Span, Worker};

/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// How long a task waits before somebody at a terminal is told why.
const SILENCE: Duration = Duration::from_secs(2);

/// What to run, where, and how often.
#[derive(Debug, Args)]
#[command(after_help = exit::SUBMIT_HELP)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    link: LinkArgs,
    /// On every worker that is attached; the lines that it prints begin with the worker's name.
    #[arg(long, conflicts_with_all = ["worker", "label"])]
    all: bool,
    /// On this worker, by its number or its name.
    #[arg(long, conflicts_with = "label")]
    worker: Option<Worker>,
    /// On whichever worker with this label is least busy.
    #[arg(long, value_parser = words::label)]
    label: Option<String>,
    /// How urgent it is: 0 to 7, the most urgent.
    #[arg(long, default_value_t = Priority::DEFAULT.level(),
        value_parser = clap::value_parser!(u8).range(0..=7))]
    priority: u8,
    /// How often it runs again when it fails.
    #[arg(long, default_value_t = 0)]
    retries: u8,
    /// How often it may be started when workers are lost [default: 3, for one worker 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    attempts_on_loss: Option<u8>,
    /// Give it up if it has not started after so long: 500ms, 30s, 10m.
    #[arg(long, value_name = "TIME")]
    start_within: Option<Span>,
    /// Give it up if it has not ended after so long.
    #[arg(long, value_name = "TIME")]
    finish_within: Option<Span>,
    /// The command is one text for the worker's shell.
    #[arg(long)]
    shell: bool,
    /// The folder to run it in, on the worker's host [default: the worker's]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// A variable for it, beside those of the worker; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Print an object of JSON for each worker's result, in place of what it printed.
    #[arg(long)]
    json: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// `NAME=VALUE`, or `NAME` for the value that it has here.
fn variable(text: &str) -> Result<(String, String), String> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let value =
        env::var(text).map_err(|_| format!("'{text}' has no value here: say NAME=VALUE"))?;
    Ok((text.to_owned(), value))
}

impl SubmitArgs {
    fn payload(&self) -> Result<ZmqPayload, Failure> {
        let mut text = CommandText {
            cwd: self.cwd.clone(),
            env: self.env.iter().cloned().collect(),
            ..CommandText::default()
        };
        if self.shell {
            text.shell = Some(self.command.join(" "));
        } else {
            text.argv = Some(self.command.clone());
        }
        let payload = text.to_payload();
        payload.map_err(|error| Failure::system("writing the command")(error.into()))
    }

    /// The submit; the name or label of whom it is for goes beside it.
    fn submit(&self, task: TaskId) -> Submit {
        let target = match &self.worker {
            Some(Worker::Id(id)) => Target::Worker(WorkerId(*id)),
            _ if self.all => Target::All,
            _ => Target::Any,
        };
        let mut submit = Submit::new(task, target)
            .retries(self.retries)
            .priority(Priority::new(self.priority));
        if let Some(Worker::Named(_)) = &self.worker {
            submit.attempts_max = 1;
        }
        if let Some(attempts) = self.attempts_on_loss {
            submit.attempts_max = attempts;
        }
        submit
            .start_within_ms(self.start_within.map_or(0, Span::as_ms))
            .finish_within_ms(self.finish_within.map_or(0, Span::as_ms))
    }
}

/// Runs a command on a worker, or on all, and says how it ended.
///
/// # Errors
/// It could not be submitted, or the controller fell silent for good.
pub(crate) fn run(args: &SubmitArgs) -> Result<ExitCode, Failure> {
    let payload = args.payload()?;
    let mut client = args.link.client(&[Role::Client, Role::Operator])?;
    let signals = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&signals), number)
            .map_err(Failure::system("listening for signals"))?;
    }
    let task = client.next_task_id();
    let submit = args.submit(task);
    match (&args.worker, &args.label) {
        (Some(Worker::Named(name)), _) => client.submit(submit, Some(name), payload)?,
        (_, Some(label)) => client.submit_to_label(submit, label, payload)?,
        _ => client.submit(submit, None, payload)?,
    }
    let mut wait = Wait {
        client,
        task,
        signals,
        cancelled_by: None,
        teller: Teller::new(args.all, args.json),
        explain_at: explain_at(args),
        names: HashMap::new(),
        aside: VecDeque::new(),
    };
    match wait.run(args.link.patience()) {
        Err(failure @ Failure::Output(_)) => wait.give_up(failure),
        ended => ended,
    }
}

/// Only who looks on wants to know, and only if it takes long.
fn explain_at(args: &SubmitArgs) -> Option<Instant> {
    let watched = io::IsTerminal::is_terminal(&io::stderr()) && !args.json;
    watched.then(|| Instant::now() + SILENCE)
}

struct Wait {
    client: RemoteClient,
    task: TaskId,
    /// The last signal, or 0.
    signals: Arc<AtomicUsize>,
    cancelled_by: Option<u8>,
    teller: Teller,
    /// When to say why nothing happens.
    explain_at: Option<Instant>,
    /// What workers are called, as far as it was asked.
    names: HashMap<(WorkerId, Epoch), String>,
    /// What came while something else was waited for.
    aside: VecDeque<ClientEvent<ZmqPayload>>,
}

impl Wait {
    fn run(&mut self, patience: Duration) -> Result<ExitCode, Failure> {
        loop {
            if let Some(code) = self.look_for_signal() {
                return Ok(code);
            }
            if self
                .explain_at
                .take_if(|due| *due <= Instant::now())
                .is_some()
            {
                self.explain(patience);
            }
            let event = match self.aside.pop_front() {
                Some(event) => Some(event),
                None => self.client.wait(LOOK)?,
            };
            let code = event
                .map(|event| self.handle(event, patience))
                .transpose()?;
            if let Some(code) = code.flatten() {
                return Ok(code);
            }
        }
    }

    /// The exit code, if that was the end.
    fn handle(
        &mut self,
        event: ClientEvent<ZmqPayload>,
        patience: Duration,
    ) -> Result<Option<ExitCode>, Failure> {
        match event {
            ClientEvent::Outcome {
                task,
                outcome,
                worker,
                part,
                payload,
                attempts,
                tried,
            } if task == self.task => {
                let name = worker
                    .map(|worker| self.name_of(worker, patience))
                    .transpose()?;
                let end = End {
                    outcome,
                    worker: name.as_deref(),
                    attempts,
                    tried: &tried,
                    payload: payload.as_ref(),
                };
                let code = self.teller.end(end).map_err(Failure::Output)?;
                Ok((!part).then(|| self.code(outcome, code)))
            }
            ClientEvent::Output {
                task,
                attempt,
                worker,
                stream,
                dropped_bytes,
                dropped_notices,
                payload,
            } if task == self.task => {
                self.explain_at = None;
                let piece = Piece {
                    stream,
                    attempt,
                    has_hole: dropped_bytes > 0,
                    has_anybodys_hole: dropped_notices > 0,
                    bytes: payload.bytes().unwrap_or_default(),
                };
                let name = self.name_of(worker, patience)?;
                self.teller.output(&name, piece).map_err(Failure::Output)?;
                Ok(None)
            }
            ClientEvent::Rejected(rejection) => {
                Err(taskyard_zmq::Error::Rejected(rejection).into())
            }
            _ => Ok(None),
        }
    }

    /// What a worker is called; its number, if that is not known any more.
    fn name_of(
        &mut self,
        incarnation: (WorkerId, Epoch),
        patience: Duration,
    ) -> Result<String, Failure> {
        if let Some(name) = self.names.get(&incarnation) {
            return Ok(name.clone());
        }
        let worker = incarnation.0;
        let number = worker.0.into();
        let due = Instant::now() + patience;
        let mut name = worker.0.to_string();
        let mut is_open = self.client.is_alive(number, worker, None);
        while is_open && Instant::now() < due {
            match self.client.wait(LOOK)? {
                Some(ClientEvent::Alive {
                    question,
                    worker: known,
                    name: told,
                    ..
                }) if question == number => {
                    // Its place may be somebody else's by now.
                    let told = told.filter(|_| known == Some(incarnation));
                    name = told.map_or(name, Into::into);
                    is_open = false;
                }
                Some(event) => {
                    // On a new connection nobody knows the question.
                    is_open = !matches!(event, ClientEvent::Welcome { .. });
                    self.aside.push_back(event);
                }
                None => {}
            }
        }
        self.names.insert(incarnation, name.clone());
        Ok(name)
    }

    /// Who has cancelled it ends as its signal would have ended it.
    fn code(&self, outcome: Outcome, code: u8) -> ExitCode {
        let is_cancelled = matches!(outcome, Outcome::Cancelled { .. } | Outcome::Summary { .. });
        match self.cancelled_by.filter(|_| is_cancelled && code != 0) {
            Some(signal) => ExitCode::from(128 + signal),
            None => ExitCode::from(code),
        }
    }

    /// The first cancels the task, the second leaves without waiting.
    fn look_for_signal(&mut self) -> Option<ExitCode> {
        // Ordering: the number is all that is handed over.
        let signal = u8::try_from(self.signals.swap(0, Ordering::Relaxed)).unwrap_or(0);
        if signal == 0 {
            return None;
        }
        if self.cancelled_by.replace(signal).is_some() {
            tell("left without waiting: the task is cancelled as soon as it can be");
            return Some(ExitCode::from(128 + signal));
        }
        tell("cancelling the task; again: without waiting for its end");
        self.client.cancel(self.task);
        None
    }

    /// Nobody takes what it prints any more: like a command at the end of that pipe, it ends.
    fn give_up(&mut self, failure: Failure) -> Result<ExitCode, Failure> {
        self.client.cancel(self.task);
        match failure.is_broken_pipe() {
            true => Ok(ExitCode::from(exit::BROKEN_PIPE)),
            false => Err(failure),
        }
    }

    fn explain(&mut self, patience: Duration) {
        let order = ControlOrder::Explain(Owner::Me, self.task);
        // It is a courtesy: without an answer there is nothing to say.
        if let Ok(Answer::Explained { explanation, .. }) = self.client.ask(order, patience)
            && let Some(why) = print::why_it_waits(explanation)
        {
            tell(format_args!("waiting: {why}"));
        }
    }
}
