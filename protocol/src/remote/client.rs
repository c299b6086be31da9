//! A client's side of its session.
//!
//! It keeps a share of every task that has no outcome. When the controller asks who it is, on a new
//! connection or because it forgot us, a new session begins: the hello carries the next session
//! number, and after the *Welcome* all tasks without an outcome are sent again, in the order in
//! which they were submitted. The controller knows those that it has (so nothing runs twice for
//! that), and runs those that it never got. This is also true of submits that it acknowledged in
//! the last session: it keeps no refusals, so a refusal may have been lost with the connection, and
//! only a second submit brings it back.
//!
//! *What is left of a broken connection* may be read after the welcome of the next one. An outcome
//! is one, whenever it comes, but only those of the present session count towards the
//! acknowledgement.
//!
//! *Which tasks are marked as sent before* (rule R11): those that another record of this client may
//! have run. Records are told apart by the controller's boot and its number for the client.

mod control;
mod output;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;

use taskyard_core::{ClientId, Epoch, Outcome, Stream, Submit, Target, TaskId, WorkerId};
use taskyard_dispatcher::Answer;

use crate::codes::{Rejection, Topic, is_of_session, read_outcome};
use crate::labels::is_label;
use crate::names::{TriedWorker, WorkerDescription, read_tried};
use crate::peer::{FromInline, Incoming, SendError, Wire, payload_len};
use crate::remote::{PayloadMax, Standing, payload_bytes, read_known, read_payload};
use crate::wire::{Flags, Head, Header, Kind, Message, NAME_MAX, SubmitOptions, WireError};

/// Outcomes that may stay unacknowledged; submits carry the number, so this matters only while
/// there are none.
const UNTOLD_MAX: u32 = 64;

/// Bytes of their results: the controller sends no more than a few times as many before it hears of
/// them.
const UNTOLD_BYTES_MAX: usize = 1 << 20;

/// Numbers rise within a session and are never repeated in it. Long before they could run out, a
/// new session begins.
const NUMBER_MAX: u32 = 1 << 31;

/// What a message from the controller means to the client's program.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<P> {
    /// A session has begun. Nothing need be done: what has to be sent again was sent.
    Welcome {
        /// The controller's record of this client.
        client: ClientId,
        /// How many tasks and unacknowledged outcomes it may have at once.
        quota: u32,
        /// Whether the record was there already.
        resumed: bool,
    },
    /// What became of a task, or of one part of a multicast.
    Outcome {
        /// Which task.
        task: TaskId,
        /// What became of it.
        outcome: Outcome,
        /// The worker that ran it last, if any did.
        worker: Option<(WorkerId, Epoch)>,
        /// How many executions were started.
        attempts: u8,
        /// One of several: a [`Summary`](Outcome::Summary) closes the multicast.
        part: bool,
        /// The result, or what the worker says about its failure.
        payload: Option<P>,
        /// Of a task that was [lost](Outcome::WorkerLost): the workers that lost or failed it, the
        /// last few of them, the latest last.
        tried: Vec<TriedWorker>,
    },
    /// An execution was lost with its worker, and the task runs again. Nothing need be done. It is
    /// told at most once for each.
    Notice {
        /// Which task.
        task: TaskId,
        /// Which execution was lost.
        attempt: u8,
        /// The worker that was lost with it.
        worker: (WorkerId, Epoch),
        /// Its name, if the controller knows it.
        name: Option<Box<str>>,
    },
    /// A task has printed something. It is told once, in order, before the task's outcome; or not
    /// at all, if there is more than can be passed on at once.
    Output {
        /// Which task.
        task: TaskId,
        /// Which execution.
        attempt: u8,
        /// The worker that runs it: so the parts of a multicast can be told apart.
        worker: (WorkerId, Epoch),
        /// Where it has printed.
        stream: Stream,
        /// Bytes that the worker has dropped so far, of all that this attempt has printed.
        dropped_bytes: u32,
        /// Pieces for this client that the controller has dropped since the last it was told of,
        /// whatever task they were of.
        dropped_notices: u16,
        /// What it has printed; empty if there is nothing to say but what is missing.
        payload: P,
    },
    /// Answers [`is_alive`](ClientState::is_alive).
    Alive {
        /// The number of the question.
        question: u64,
        /// Whether the worker is attached; `None` if it is not known at all.
        alive: Option<bool>,
        /// Its place and present or last incarnation, if it is known.
        worker: Option<(WorkerId, Epoch)>,
        /// Its name, if the controller knows it.
        name: Option<Box<str>>,
        /// How old that knowledge is, in milliseconds.
        age_ms: u32,
    },
    /// Answers [`control`](ClientState::control).
    Controlled {
        /// The number of the question.
        question: u64,
        /// What there is to say.
        answer: Answer,
        /// Names and labels of the workers of a list, in its order; empty for all other answers.
        workers: Vec<WorkerDescription>,
    },
    /// The controller refuses the session, or could not understand a message.
    Rejected(Rejection),
}

/// Why a submit was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// A task with this number has no outcome yet: the caller's mistake.
    #[error("a task with this number has no outcome yet")]
    Duplicate,
    /// The client has said goodbye.
    #[error("the client has said goodbye")]
    Left,
    /// The target is a label, and its text is missing, empty or longer than 63 bytes.
    #[error("a label has 1 to 63 bytes")]
    Label,
    /// The target is a name, and the name is missing, empty or longer than 255 bytes.
    #[error("a worker's name has 1 to 255 bytes")]
    Name,
}

/// Outcomes that were here before. Within one session there should be none; after a break in the
/// connection the controller sends again what it was not told to have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// How many came.
    pub count: u64,
    /// The task of the last of them.
    pub last: Option<TaskId>,
}

/// The record that a session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    boot: u64,
    client: ClientId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    record: Record,
    quota: u32,
    payload_max: PayloadMax,
}

/// Whom a task is for, as the controller is told.
#[derive(Debug)]
enum Addressee {
    /// What the submit's target says.
    Target,
    /// The worker with this name.
    Named(Box<str>),
    /// A worker with this label.
    Labelled(Box<str>),
}

/// A task without an outcome.
#[derive(Debug)]
struct Kept<P> {
    /// The n-th submit of this client: the order of sending again.
    order: u64,
    submit: Submit,
    addressee: Addressee,
    payload: P,
    /// The record that it was sent to last.
    sent_to: Option<Record>,
    cancelled: bool,
    /// The workers whose parts of a multicast are here already, by their epochs.
    parts: BTreeSet<Epoch>,
}

/// Something to send, once there is a session and the wire takes it.
#[derive(Clone, Copy, Debug)]
enum Due {
    Submit(TaskId),
    Cancel(TaskId),
}

/// A client's session, without its socket.
///
/// ```
/// use arrayvec::ArrayVec;
/// use taskyard_core::{Submit, Target, TaskId};
/// use taskyard_protocol::wire::{Head, Header, Kind, Message};
/// use taskyard_protocol::{Incoming, SendError, Wire, remote::ClientState};
///
/// type Bytes = ArrayVec<u8, 16>;
/// struct Sent(Vec<Kind>);
/// impl Wire<Bytes> for Sent {
///     fn send(&mut self, head: &mut Head, _: Option<Bytes>) -> Result<(), SendError> {
///         self.0.push(Message::decode(head.as_slice()).unwrap().header.kind);
///         Ok(())
///     }
/// }
///
/// let mut wire = Sent(Vec::new());
/// let mut client = ClientState::<Bytes>::new(0x5eed);
/// client.submit(Submit::new(TaskId(1), Target::Any), None, Bytes::new(), &mut wire).unwrap();
/// assert!(wire.0.is_empty(), "a task waits for the session");
///
/// let question = Header::new(Kind::WhoAreYou).encode();
/// client.handle_message(&question, Incoming::Alone, &mut wire).unwrap();
/// let mut answer = Header::new(Kind::Welcome);
/// answer.ack = 1; // the session that is welcome
/// let answer = Head::new(&answer).boot(77);
/// client.handle_message(answer.as_slice(), Incoming::Alone, &mut wire).unwrap();
/// assert_eq!(wire.0, [Kind::ClientHello, Kind::Submit]);
/// ```
pub struct ClientState<P> {
    key: u128,
    session_number: u32,
    standing: Standing<Session>,
    kept: HashMap<TaskId, Kept<P>>,
    submitted: u64,
    due: VecDeque<Due>,
    /// The number of the last sequenced message sent in this session.
    sent: u32,
    /// The highest outcome received in this session, and the highest that the controller was told
    /// of.
    received: u32,
    told: u32,
    /// Bytes of the results that the controller was not told of.
    untold_bytes: usize,
    repeats: Repeats,
}

impl<P: FromInline> ClientState<P> {
    /// A client that has not met its controller.
    ///
    /// `key` is a random number that the process drew at its start: whoever knows it can take over
    /// the client's tasks.
    #[must_use]
    pub fn new(key: u128) -> Self {
        Self::returning(key, 0)
    }

    /// A client that comes back in another process, with the key of one whose sessions had numbers
    /// up to `sessions_before`.
    #[must_use]
    pub fn returning(key: u128, sessions_before: u32) -> Self {
        Self {
            key,
            session_number: sessions_before,
            standing: Standing::Stranger,
            kept: HashMap::new(),
            submitted: 0,
            due: VecDeque::new(),
            sent: 0,
            received: 0,
            told: 0,
            untold_bytes: 0,
            repeats: Repeats::default(),
        }
    }

    /// How many tasks have no outcome.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.kept.len()
    }

    /// Outcomes that came although they were here already; they are not passed on.
    #[must_use]
    pub const fn repeats(&self) -> Repeats {
        self.repeats
    }

    /// The controller's record of this client, while there is a session.
    #[must_use]
    pub const fn client(&self) -> Option<ClientId> {
        match self.standing {
            Standing::Up(session) => Some(session.record.client),
            _ => None,
        }
    }

    /// How many tasks and unacknowledged outcomes the client may have at once, while there is a
    /// session.
    #[must_use]
    pub const fn quota(&self) -> Option<u32> {
        match self.standing {
            Standing::Up(session) => Some(session.quota),
            _ => None,
        }
    }

    /// Takes a task: sends it now, or as soon as there is a session and the wire takes it. A `name`
    /// makes it a submit to the worker with that name, whatever `submit` has for a target.
    ///
    /// # Errors
    /// See [`SubmitError`]; the payload is dropped.
    pub fn submit(
        &mut self,
        submit: Submit,
        name: Option<&str>,
        payload: P,
        wire: &mut impl Wire<P>,
    ) -> Result<(), SubmitError> {
        let addressee = match (name, submit.target) {
            (Some(name), _) if !name.is_empty() && name.len() <= NAME_MAX => {
                Addressee::Named(name.into())
            }
            (Some(_), _) | (None, Target::Named(_)) => return Err(SubmitError::Name),
            // Its digest is this process's own.
            (None, Target::Label(_)) => return Err(SubmitError::Label),
            (None, _) => Addressee::Target,
        };
        self.take(submit, addressee, payload, wire)
    }

    /// As [`submit`](Self::submit), for whichever worker that has this label is least busy,
    /// whatever the submit has for a target.
    ///
    /// # Errors
    /// See [`SubmitError`]; the payload is dropped.
    pub fn submit_to_label(
        &mut self,
        submit: Submit,
        label: &str,
        payload: P,
        wire: &mut impl Wire<P>,
    ) -> Result<(), SubmitError> {
        if !is_label(label) {
            return Err(SubmitError::Label);
        }
        self.take(submit, Addressee::Labelled(label.into()), payload, wire)
    }

    fn take(
        &mut self,
        submit: Submit,
        addressee: Addressee,
        payload: P,
        wire: &mut impl Wire<P>,
    ) -> Result<(), SubmitError> {
        if self.standing == Standing::Left {
            return Err(SubmitError::Left);
        }
        if self.kept.contains_key(&submit.task) {
            return Err(SubmitError::Duplicate);
        }
        self.submitted += 1;
        let kept = Kept {
            order: self.submitted,
            submit,
            addressee,
            payload,
            sent_to: None,
            cancelled: false,
            parts: BTreeSet::new(),
        };
        self.kept.insert(submit.task, kept);
        self.due.push_back(Due::Submit(submit.task));
        self.pump(wire);
        Ok(())
    }

    /// Asks for a task to be cancelled; its outcome says whether it was. False if it has one
    /// already.
    pub fn cancel(&mut self, task: TaskId, wire: &mut impl Wire<P>) -> bool {
        let Some(kept) = self.kept.get_mut(&task) else {
            return false;
        };
        if !kept.cancelled {
            kept.cancelled = true;
            self.due.push_back(Due::Cancel(task));
            self.pump(wire);
        }
        true
    }

    /// Asks whether a worker is there: by its name, or else by its id. The answer comes at once,
    /// from what the controller knows, as a [`ClientEvent::Alive`] with the same number. `false`
    /// without a session, or if the name is none: nothing was asked.
    pub fn is_alive(
        &mut self,
        question: u64,
        worker: WorkerId,
        name: Option<&str>,
        wire: &mut impl Wire<P>,
    ) -> bool {
        if !matches!(self.standing, Standing::Up(_)) {
            return false;
        }
        if name.is_some_and(|name| name.is_empty() || name.len() > NAME_MAX) {
            return false;
        }
        let mut header = Header::new(Kind::IsAlive);
        header.id = question;
        header.worker = worker.0;
        let topic = match name {
            Some(_) => Topic::Named,
            None => Topic::Worker,
        };
        header.code = topic.to_code();
        let mut head = Head::new(&header);
        if let Some(name) = name {
            head = head.name(name);
        }
        wire.send(&mut head, None).is_ok()
    }

    /// Begins a session unasked: for a transport whose new connections the controller does not hear
    /// of.
    pub fn hello(&mut self, wire: &mut impl Wire<P>) {
        if self.standing != Standing::Left {
            self.renew();
            self.pump(wire);
        }
    }

    /// Sends what has to be sent, until the wire takes no more. False: something is left, call
    /// again when the wire may take it. What waits for a session does not count.
    pub fn pump(&mut self, wire: &mut impl Wire<P>) -> bool {
        if matches!(self.standing, Standing::Up(_)) && self.sent.max(self.received) >= NUMBER_MAX {
            self.renew();
        }
        if self.standing == Standing::Due {
            if self.send_hello(wire).is_err() {
                return false;
            }
            self.standing = Standing::Awaiting;
        }
        let Standing::Up(session) = self.standing else {
            return true;
        };
        while let Some(due) = self.due.front().copied() {
            let sent = match due {
                Due::Submit(task) => self.send_submit(task, &session, wire),
                Due::Cancel(task) => self.send_cancel(task, wire),
            };
            match sent {
                Ok(()) => {}
                // The session has ended with its connection, though nobody has said so yet. What
                // goes out on the next one before the controller asks who we are would count for
                // nothing there, and as sent here.
                Err(SendError::Unreachable) => {
                    self.standing = Standing::Stranger;
                    return true;
                }
                Err(SendError::Full) => return false,
            }
            self.due.pop_front();
        }
        true
    }

    /// Tells the controller of all outcomes received, if it does not know: worth it before a pause,
    /// since it keeps them until then.
    pub fn acknowledge(&mut self, wire: &mut impl Wire<P>) {
        if matches!(self.standing, Standing::Up(_)) && self.told != self.received {
            let mut header = Header::new(Kind::Ack);
            header.ack = self.received;
            if wire.send(&mut Head::new(&header), None).is_ok() {
                self.told = self.received;
                self.untold_bytes = 0;
            }
        }
    }

    /// Leaves for good: the controller drops all that it has of this client.
    pub fn goodbye(&mut self, wire: &mut impl Wire<P>) {
        if matches!(self.standing, Standing::Up(_) | Standing::Awaiting) {
            // If it cannot be sent, the controller forgets us after a while by itself.
            let _ = wire.send(&mut Head::new(&Header::new(Kind::Goodbye)), None);
        }
        self.standing = Standing::Left;
        self.kept.clear();
        self.due.clear();
    }

    /// Takes one message of the controller.
    ///
    /// # Errors
    /// It could not be understood: the controller is at fault, or not one. Nothing has changed.
    pub fn handle_message(
        &mut self,
        first_frame: &[u8],
        incoming: Incoming<P>,
        wire: &mut impl Wire<P>,
    ) -> Result<Option<ClientEvent<P>>, WireError> {
        let Some(message) = read_known(first_frame)? else {
            return Ok(None);
        };
        let header = &message.header;
        match header.kind {
            Kind::Outcome => return self.handle_outcome(&message, incoming, wire),
            Kind::Welcome => return Ok(self.handle_welcome(&message, wire)),
            Kind::WhoAreYou => self.hello(wire),
            Kind::Rejected => return Ok(Some(self.handle_rejected(header))),
            Kind::Notice if header.code == 0 => return Ok(self.handle_notice(&message)),
            Kind::Notice => return self.handle_output(&message, incoming),
            Kind::Alive => return Ok(Some(read_alive(&message))),
            Kind::Controlled => return control::read_controlled(&message, incoming).map(Some),
            Kind::Ping => {
                let mut pong = Header::new(Kind::Pong);
                pong.id = header.id;
                // A pong that cannot be sent is as good as none.
                let _ = wire.send(&mut Head::new(&pong), None);
            }
            // Submits are kept until their outcome, so the controller's acknowledgement changes
            // nothing; the other kinds are reserved, or not for clients.
            _ => {}
        }
        Ok(None)
    }

    fn renew(&mut self) {
        self.session_number = self.session_number.wrapping_add(1);
        self.standing = Standing::Due;
    }

    fn handle_welcome(
        &mut self,
        message: &Message<'_>,
        wire: &mut impl Wire<P>,
    ) -> Option<ClientEvent<P>> {
        let header = &message.header;
        if self.standing != Standing::Awaiting || header.ack != self.session_number {
            // It answers an earlier hello of ours.
            return None;
        }
        let client = ClientId::from_bits(header.id);
        let quota = header.epoch;
        let record = Record {
            boot: message.boot.unwrap_or_default(),
            client,
        };
        self.standing = Standing::Up(Session {
            record,
            quota,
            payload_max: PayloadMax::told_by(header),
        });
        (self.sent, self.received, self.told) = (0, 0, 0);
        self.send_again();
        self.pump(wire);
        let resumed = header.flags.has(Flags::RESUMED);
        Some(ClientEvent::Welcome {
            client,
            quota,
            resumed,
        })
    }

    /// Makes all tasks due, in the order in which they were submitted.
    fn send_again(&mut self) {
        let mut tasks: Vec<_> = self
            .kept
            .values()
            .map(|kept| (kept.order, kept.submit.task, kept.cancelled))
            .collect();
        tasks.sort_unstable();
        self.due.clear();
        for (_, task, cancelled) in tasks {
            self.due.push_back(Due::Submit(task));
            if cancelled {
                self.due.push_back(Due::Cancel(task));
            }
        }
    }

    fn handle_outcome(
        &mut self,
        message: &Message<'_>,
        incoming: Incoming<P>,
        wire: &mut impl Wire<P>,
    ) -> Result<Option<ClientEvent<P>>, WireError> {
        let header = &message.header;
        let payload = read_payload(message, incoming)?;
        let (outcome, worker) = read_outcome(header).ok_or(WireError::Code(header.code))?;
        let (payload, tried) = match outcome {
            Outcome::WorkerLost => (None, read_tried(&payload_bytes(payload.as_ref()))?),
            _ => (payload, Vec::new()),
        };
        let task = TaskId(header.id);
        let part = header.flags.has(Flags::PART);
        let is_present = is_of_session(header, self.session_number);
        if header.seq == 0 && !is_present {
            // A refusal of an earlier session: the task was or will be sent again in this one, and
            // is answered in it.
            return Ok(None);
        }
        let is_news = self.settle(task, part.then_some(worker).flatten(), part);
        if !is_news {
            self.repeats = Repeats {
                count: self.repeats.count + 1,
                last: Some(task),
            };
        }
        if is_present && matches!(self.standing, Standing::Up(_)) {
            self.received = self.received.max(header.seq);
            self.untold_bytes += payload.as_ref().map_or(0, payload_len);
            let untold = self.received - self.told;
            if untold >= UNTOLD_MAX || self.untold_bytes >= UNTOLD_BYTES_MAX {
                self.acknowledge(wire);
            }
        }
        let attempts = header.attempt;
        Ok(is_news.then_some(ClientEvent::Outcome {
            task,
            outcome,
            worker,
            attempts,
            part,
            payload,
            tried,
        }))
    }

    /// Takes note of an outcome. False if it was here before.
    fn settle(&mut self, task: TaskId, worker: Option<(WorkerId, Epoch)>, part: bool) -> bool {
        if !part {
            return self.kept.remove(&task).is_some();
        }
        let Some(kept) = self.kept.get_mut(&task) else {
            return false;
        };
        worker.is_some_and(|(_, epoch)| kept.parts.insert(epoch))
    }

    /// One that comes behind the outcome, from a connection before this one, is no news.
    fn handle_notice(&self, message: &Message<'_>) -> Option<ClientEvent<P>> {
        let header = &message.header;
        let task = TaskId(header.id);
        self.kept
            .contains_key(&task)
            .then_some(ClientEvent::Notice {
                task,
                attempt: header.attempt,
                worker: (WorkerId(header.worker), Epoch(header.epoch)),
                name: message.name.map(Into::into),
            })
    }

    fn handle_rejected(&mut self, header: &Header) -> ClientEvent<P> {
        let answers_hello = header.id == u64::from(self.session_number);
        if self.standing == Standing::Awaiting && answers_hello {
            self.standing = Standing::Stranger;
        }
        ClientEvent::Rejected(Rejection::from_code(header.code))
    }

    fn send_hello(&self, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        let mut header = Header::new(Kind::ClientHello);
        header.seq = self.session_number;
        wire.send(&mut Head::new(&header).body(&self.key.to_le_bytes()), None)
    }

    fn send_submit(
        &mut self,
        task: TaskId,
        session: &Session,
        wire: &mut impl Wire<P>,
    ) -> Result<(), SendError> {
        // Its outcome may be here by now.
        let Some(kept) = self.kept.get_mut(&task) else {
            return Ok(());
        };
        let record = session.record;
        let was_elsewhere = kept.sent_to.is_some_and(|earlier| earlier != record);
        kept.submit.resent |= was_elsewhere;
        let mut head = submit_head(&kept.submit, &kept.addressee, self.sent + 1, self.received);
        let too_large = session.payload_max.is_exceeded_by(&kept.payload);
        if too_large {
            // Sent, it would break the connection, and again in each session. Announced and
            // missing, it is refused.
            head.set_frames(1);
        }
        let payload = (!too_large).then(|| kept.payload.share());
        wire.send(&mut head, payload)?;
        kept.sent_to = Some(record);
        self.sent += 1;
        self.told = self.received;
        self.untold_bytes = 0;
        Ok(())
    }

    fn send_cancel(&mut self, task: TaskId, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        let mut header = Header::new(Kind::Cancel);
        header.seq = self.sent + 1;
        header.ack = self.received;
        header.id = task.0;
        wire.send(&mut Head::new(&header), None)?;
        self.sent += 1;
        self.told = self.received;
        Ok(())
    }
}

fn read_alive<P>(message: &Message<'_>) -> ClientEvent<P> {
    let header = &message.header;
    let alive = match header.code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let known = header.flags.has(Flags::HAS_WORKER);
    ClientEvent::Alive {
        question: header.id,
        alive,
        worker: known.then_some((WorkerId(header.worker), Epoch(header.epoch))),
        name: message.name.map(Into::into),
        age_ms: header.seq,
    }
}

fn submit_head(submit: &Submit, addressee: &Addressee, seq: u32, ack: u32) -> Head {
    let mut header = Header::new(Kind::Submit);
    header.seq = seq;
    header.ack = ack;
    header.id = submit.task.0;
    header.attempt = submit.attempts_max;
    if submit.resent {
        header.flags = header.flags.with(Flags::RESENT);
    }
    let (topic, name) = match (addressee, submit.target) {
        (Addressee::Named(name), _) => (Topic::Named, Some(name)),
        (Addressee::Labelled(label), _) => (Topic::Label, Some(label)),
        (Addressee::Target, Target::All) => (Topic::All, None),
        (Addressee::Target, Target::Worker(worker)) => {
            header.worker = worker.0;
            (Topic::Worker, None)
        }
        // A name or a label has an addressee of its own.
        (Addressee::Target, Target::Any | Target::Named(_) | Target::Label(_)) => {
            (Topic::Any, None)
        }
    };
    header.code = topic.to_code();
    let mut head = Head::new(&header);
    if let Some(name) = name {
        head = head.name(name);
    }
    head = match (submit.start_within_ms, submit.finish_within_ms) {
        (0, 0) => head,
        (start_within_ms, finish_within_ms) => head.deadlines(start_within_ms, finish_within_ms),
    };
    let options = SubmitOptions {
        priority: submit.priority,
        retries: submit.retries_on_failure,
        hold_ms: submit.hold_ms,
    };
    if options == SubmitOptions::default() {
        return head;
    }
    head.options(&options)
}

impl<P> fmt::Debug for ClientState<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientState")
            .field("session", &self.session_number)
            .field("standing", &self.standing)
            .field("outstanding", &self.kept.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrayvec::ArrayVec;

    use super::*;

    type Bytes = ArrayVec<u8, 4>;

    #[derive(Default)]
    struct Sent(Vec<Header>);

    impl Wire<Bytes> for Sent {
        fn send(&mut self, head: &mut Head, _: Option<Bytes>) -> Result<(), SendError> {
            self.0
                .push(Message::decode(head.as_slice()).unwrap().header);
            Ok(())
        }
    }

    #[test]
    fn a_session_is_renewed_before_its_numbers_run_out() {
        let mut wire = Sent::default();
        let mut client = ClientState::<Bytes>::new(1);
        client.hello(&mut wire);
        let mut welcome = Header::new(Kind::Welcome);
        for session in [1, 2] {
            welcome.ack = session;
            client
                .handle_message(&welcome.encode(), Incoming::Alone, &mut wire)
                .unwrap();
            client.sent = NUMBER_MAX - 1;
            for task in [1, 2].map(|task| TaskId(u64::from(session) * 10 + task)) {
                let submit = Submit::new(task, Target::Any);
                client
                    .submit(submit, None, Bytes::new(), &mut wire)
                    .unwrap();
            }
        }
        let sent = wire
            .0
            .iter()
            .map(|header| (header.kind, header.seq))
            .collect::<Vec<_>>();
        let (hello, submit) = (Kind::ClientHello, Kind::Submit);
        let first = [(hello, 1), (submit, NUMBER_MAX), (hello, 2)];
        let second = [(submit, 1), (submit, 2), (submit, NUMBER_MAX), (hello, 3)];
        assert_eq!(sent, [&first[..], &second[..]].concat());
    }
}
