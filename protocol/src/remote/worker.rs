//! A worker's side of its registration.
//!
//! It keeps every result until the controller has acknowledged it, and knows what still runs. When
//! the controller asks who it is, on a new connection or because it forgot us, a new registration
//! begins: the kept results are handed in, and the *Register* that follows carries the next number
//! and how many attempts still run (rule R5).
//!
//! ```text
//!             report            sent                     acknowledged
//!  running ───────────▶ unsent ──────▶ numbered (seq n) ──────────────▶ gone
//!                          ▲  │ register     │ register                  ▲
//!                          │  └──────┬───────┘                           │
//!                          │         ▼            Registered: the first k│
//!                          │    handed in ───────────────────────────────┘
//! ```
//! What still runs is said to, attempt by attempt, before the *Register*: so it is not lost with
//! the connection. A controller that was started anew knows neither; it is told in terms of where
//! the tasks came from, with the tickets that its predecessor gave out.
//!
//! An attempt that ends between the *Register* and its answer was counted as running in it. So its
//! result is not handed in but waits, and is sent as an ordinary result afterwards: that also frees
//! the slot.

mod output;

use std::collections::VecDeque;
use std::fmt;

use taskyard_core::{Attempt, Epoch, TaskHandle, Verdict, WorkerId};
use taskyard_dispatcher::Payload;

use crate::codes::{Rejection, STILL_RUNS, verdict_to_code};
use crate::labels::write_labels;
use crate::peer::{FromInline, Incoming, SendError, Wire, payload_len};
use crate::remote::{PayloadMax, Standing, read_known, read_payload};
use crate::wire::{Flags, Head, Header, Kind, Message, NAME_MAX, OriginTicket, WireError};

/// Numbers rise within a registration and are never repeated in it. Long before they could run out,
/// a new registration begins.
const NUMBER_MAX: u32 = 1 << 31;

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerProfile {
    /// Its stable name, 1 to 255 bytes: no other worker of the controller has it.
    pub name: String,
    /// A random number that the process drew for this worker at its start.
    pub instance: u64,
    /// How many tasks it runs at once. The controller may grant fewer.
    pub slots: u16,
    /// How many tasks it may be sent beyond those, to be there when a slot becomes free: the way to
    /// and from the controller costs the worker no time then. 0: none. A task that waits here
    /// waits while another worker might run it, until it is asked back; and if this worker is lost,
    /// it counts as started.
    pub prefetch: u16,
    /// What tasks may ask for: up to 8 labels of 1 to 63 bytes each.
    pub labels: Vec<String>,
}

/// One attempt that this worker was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The task.
    pub handle: TaskHandle,
    /// Which execution of it.
    pub attempt: Attempt,
    /// The worker's place in the table when it was given.
    pub worker: WorkerId,
    /// The worker's incarnation when it was given.
    pub epoch: Epoch,
    /// The controller's boot when it was given.
    pub boot: u64,
    /// What the worker shows to a controller that was started anew; `None` for a part of a
    /// multicast and for tasks of the controller's own process.
    pub origin: Option<OriginTicket>,
}

impl Assignment {
    /// Whether a message about a task means this one: a controller numbers each only once.
    fn is_meant_by(&self, header: &Header, boot: u64) -> bool {
        let meant = (header.id, header.attempt, boot);
        (self.handle.to_bits(), self.attempt.0, self.boot) == meant
    }
}

/// What a message from the controller means to the worker's program.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEvent<P> {
    /// Admitted.
    Registered {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// Run this, then [`report`](WorkerState::report).
    Task(Assignment, P),
    /// Stop this if it still runs, then report it as aborted, or as what it has become.
    Abort(Assignment),
    /// Finish what runs, then [`leave`](WorkerState::leave).
    Drain,
    /// This registration is over: the controller takes us for lost.
    /// [`register`](WorkerState::register) again, or give up.
    Evicted,
    /// Connect to this endpoint instead; registration goes on there.
    Redirect(String),
    /// The controller refuses the registration, or could not understand a message.
    Rejected(Rejection),
}

/// A registration that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registration {
    worker: WorkerId,
    epoch: Epoch,
    boot: u64,
    payload_max: PayloadMax,
}

impl Registration {
    const fn incarnation(&self) -> (WorkerId, Epoch) {
        (self.worker, self.epoch)
    }

    fn granted(&self, assignment: &Assignment) -> bool {
        let Assignment {
            worker,
            epoch,
            boot,
            ..
        } = *assignment;
        (self.worker, self.epoch, self.boot) == (worker, epoch, boot)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// Not sent in this registration.
    Unsent,
    /// Sent before this registration, to be acknowledged by its answer.
    HandedIn,
    /// Sent in this registration under this number.
    Numbered(u32),
}

/// A result that the controller has not acknowledged.
#[derive(Debug)]
struct Kept<P> {
    assignment: Assignment,
    verdict: Verdict,
    payload: Option<P>,
    delivery: Delivery,
}

impl<P: Payload> Kept<P> {
    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, payload_len)
    }
}

/// Results that are acknowledged and kept all the same, in case the controller is started anew
/// before it has passed them on: the last few, and not too many bytes of them.
const LATEST_MAX: usize = 16;
const LATEST_BYTES_MAX: usize = 1 << 20;

/// A worker's registration, without its socket.
///
/// ```
/// use arrayvec::ArrayVec;
/// use taskyard_protocol::wire::{Head, Header, Kind, Message};
/// use taskyard_protocol::remote::{WorkerProfile, WorkerState};
/// use taskyard_protocol::{Incoming, SendError, Wire};
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
/// let profile = WorkerProfile {
///     name: "w1".into(),
///     instance: 0x5eed,
///     slots: 1,
///     prefetch: 0,
///     labels: vec!["gpu".into()],
/// };
/// let mut worker = WorkerState::<Bytes>::new(profile);
/// let question = Header::new(Kind::WhoAreYou).encode();
/// worker.handle_message(&question, Incoming::Alone, &mut wire).unwrap();
/// assert_eq!(wire.0, [Kind::Register]);
/// ```
pub struct WorkerState<P> {
    profile: WorkerProfile,
    standing: Standing<Registration>,
    /// The number of the last registration, rising for as long as the process lives (rule R7).
    number: u32,
    /// It was redirected, or admitted: from now on it stays where it is.
    settled: bool,
    /// At most as many as it has slots, if the controller keeps its word.
    running: Vec<Assignment>,
    /// Sent ahead of a slot, and not started.
    ahead: VecDeque<(Assignment, P)>,
    /// Asked back, and still to be said to be given back.
    given_back: Vec<Assignment>,
    kept: VecDeque<Kept<P>>,
    /// The last that were acknowledged, and how many bytes they have.
    latest: VecDeque<Kept<P>>,
    latest_bytes: usize,
    /// What still runs from an earlier boot of the controller, and is to be said to.
    unsaid: Vec<Assignment>,
    /// The number of the last result sent in this registration.
    sent: u32,
    output: output::Output,
}

impl<P: FromInline> WorkerState<P> {
    /// A worker that has not met its controller.
    ///
    /// # Panics
    /// The name is empty or longer than 255 bytes, or the labels are too many, too long, or do not
    /// fit this type of payload: check them where they enter the program.
    #[must_use]
    pub fn new(profile: WorkerProfile) -> Self {
        assert!(
            !profile.name.is_empty(),
            "a worker's name has at least one byte"
        );
        assert!(
            profile.name.len() <= NAME_MAX,
            "a worker's name has at most {NAME_MAX} bytes"
        );
        assert!(
            profile.labels.is_empty() || P::from_inline(&write_labels(&profile.labels)).is_some(),
            "a payload has room for the labels"
        );
        Self {
            profile,
            standing: Standing::Stranger,
            number: 0,
            settled: false,
            running: Vec::new(),
            ahead: VecDeque::new(),
            given_back: Vec::new(),
            kept: VecDeque::new(),
            latest: VecDeque::new(),
            latest_bytes: 0,
            unsaid: Vec::new(),
            sent: 0,
            output: output::Output::default(),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn profile(&self) -> &WorkerProfile {
        &self.profile
    }

    /// Its place and incarnation, while it is registered.
    #[must_use]
    pub const fn registered(&self) -> Option<(WorkerId, Epoch)> {
        match self.standing {
            Standing::Up(registration) => Some((registration.worker, registration.epoch)),
            _ => None,
        }
    }

    /// What it was given and has not reported.
    #[must_use]
    pub fn running(&self) -> &[Assignment] {
        &self.running
    }

    /// How many results the controller has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.kept.len()
    }

    /// How many tasks wait here for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ahead.len()
    }

    /// The next of the tasks that were sent ahead, if there is a slot for it: run it, as one that
    /// comes with a [`WorkerEvent::Task`]. Ask after each message and each report. The controller
    /// is told that it starts; as long as the wire takes nothing, it does not.
    pub fn poll_waiting(&mut self, wire: &mut impl Wire<P>) -> Option<(Assignment, P)> {
        let Standing::Up(registration) = self.standing else {
            return None;
        };
        if self.running.len() >= usize::from(self.profile.slots.max(1)) {
            return None;
        }
        let (assignment, _) = self.ahead.front()?;
        debug_assert!(registration.granted(assignment));
        let header = attempt_header(Kind::Started, assignment);
        wire.send(&mut Head::new(&header), None).ok()?;
        let (assignment, payload) = self.ahead.pop_front()?;
        self.running.push(assignment);
        Some((assignment, payload))
    }

    /// Reports how an attempt ended: now, or as soon as there is a registration and the wire takes
    /// it. False if it is not running: it was never given, or is reported already.
    ///
    /// A payload that is larger than the controller takes would break the connection, again and
    /// again: such an attempt is reported as failed, without one.
    pub fn report(
        &mut self,
        assignment: &Assignment,
        verdict: Verdict,
        payload: Option<P>,
        wire: &mut impl Wire<P>,
    ) -> bool {
        let Some(place) = self
            .running
            .iter()
            .position(|running| running == assignment)
        else {
            return false;
        };
        self.end_output(assignment, wire);
        let assignment = self.running.swap_remove(place);
        self.unsaid.retain(|unsaid| *unsaid != assignment);
        let too_large = payload.as_ref().is_some_and(|payload| {
            matches!(self.standing, Standing::Up(registration)
                if registration.payload_max.is_exceeded_by(payload))
        });
        let (verdict, payload) = if too_large {
            (Verdict::Failed, None)
        } else {
            (verdict, payload)
        };
        self.kept.push_back(Kept {
            assignment,
            verdict,
            payload,
            delivery: Delivery::Unsent,
        });
        self.pump(wire);
        true
    }

    /// Registers anew, unasked: after an eviction, or for a transport whose new connections the
    /// controller does not hear of.
    pub fn register(&mut self, wire: &mut impl Wire<P>) {
        if self.standing != Standing::Left {
            self.standing = Standing::Due;
            self.pump(wire);
        }
    }

    /// Sends what has to be sent, until the wire takes no more. False: something is left, call
    /// again when the wire may take it. What waits for a registration does not count.
    pub fn pump(&mut self, wire: &mut impl Wire<P>) -> bool {
        if matches!(self.standing, Standing::Up(_)) && self.sent >= NUMBER_MAX {
            self.standing = Standing::Due;
        }
        match self.standing {
            Standing::Due => self.introduce(wire).is_ok(),
            Standing::Up(registration) => {
                self.send_results(&registration, wire).is_ok()
                    && self.give_back(wire).is_ok()
                    && self.say_what_runs(wire).is_ok()
            }
            Standing::Stranger | Standing::Awaiting | Standing::Left => true,
        }
    }

    /// Goes back to where it may be sent on from again: for a worker that was redirected to an
    /// endpoint where nobody answers. Connect to the first endpoint with it.
    pub fn unsettle(&mut self) {
        self.settled = false;
        if self.standing != Standing::Left {
            self.standing = Standing::Stranger;
        }
    }

    /// Asks to be given nothing more. The controller says [`Drain`](WorkerEvent::Drain) when all
    /// that was on its way has been here and is reported: then it may leave. `false` without a
    /// registration, and a new one has forgotten it.
    pub fn drain(&mut self, wire: &mut impl Wire<P>) -> bool {
        matches!(self.standing, Standing::Up(_))
            && wire
                .send(&mut Head::new(&Header::new(Kind::Drain)), None)
                .is_ok()
    }

    /// Leaves for good. Results that are not acknowledged are lost with it, so wait for
    /// [`unacknowledged`](Self::unacknowledged) to be 0 as long as patience lasts.
    pub fn leave(&mut self, wire: &mut impl Wire<P>) {
        if matches!(self.standing, Standing::Up(_) | Standing::Awaiting) {
            // If it cannot be sent, the connection's end says the same.
            let _ = wire.send(&mut Head::new(&Header::new(Kind::Leave)), None);
        }
        self.standing = Standing::Left;
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
    ) -> Result<Option<WorkerEvent<P>>, WireError> {
        let Some(message) = read_known(first_frame)? else {
            return Ok(None);
        };
        let header = &message.header;
        Ok(match header.kind {
            Kind::Task => return self.handle_task(&message, incoming),
            Kind::Ack => {
                self.acknowledged(header);
                None
            }
            Kind::Registered => self.handle_registered(&message, wire),
            Kind::Redirect => return self.handle_redirect(&message),
            Kind::WhoAreYou => {
                self.register(wire);
                None
            }
            Kind::Abort => self.aborted(header).map(WorkerEvent::Abort),
            Kind::Revoke => {
                self.handle_revoke(header, wire);
                None
            }
            Kind::Drain => Some(WorkerEvent::Drain),
            Kind::Evict => self.handle_evict(header),
            Kind::Rejected => Some(self.handle_rejected(header)),
            Kind::Ping => {
                let mut pong = Header::new(Kind::Pong);
                pong.id = header.id;
                // A pong that cannot be sent is as good as none.
                let _ = wire.send(&mut Head::new(&pong), None);
                None
            }
            Kind::Pong => {
                self.handle_pong(header.id, wire);
                None
            }
            // Not for workers.
            _ => None,
        })
    }

    /// A task of another registration than the present one is not run: it was not listed as running
    /// when we registered, so the controller has settled it by now.
    fn handle_task(
        &mut self,
        message: &Message<'_>,
        incoming: Incoming<P>,
    ) -> Result<Option<WorkerEvent<P>>, WireError> {
        let payload = match read_payload(message, incoming)? {
            Some(payload) => payload,
            None => P::from_inline(&[]).ok_or(WireError::Body)?,
        };
        self.acknowledged(&message.header);
        let Some(assignment) = self.assignment(message) else {
            return Ok(None);
        };
        let waits = self.ahead.iter().any(|(other, _)| *other == assignment);
        if waits || self.running.contains(&assignment) {
            return Ok(None);
        }
        // More than these no controller sends that keeps its word; one that does not must not fill
        // our memory.
        let (slots, prefetch) = (self.profile.slots.max(1), self.profile.prefetch);
        let sent_max = 2 * (usize::from(slots) + usize::from(prefetch));
        if self.running.len() + self.ahead.len() >= sent_max {
            return Ok(None);
        }
        if message.header.flags.has(Flags::AHEAD) {
            self.ahead.push_back((assignment, payload));
            return Ok(None);
        }
        self.running.push(assignment);
        Ok(Some(WorkerEvent::Task(assignment, payload)))
    }

    /// A task that waits here is given back. For one that has started, that has been said.
    fn handle_revoke(&mut self, header: &Header, wire: &mut impl Wire<P>) {
        let Standing::Up(registration) = self.standing else {
            return;
        };
        let mut waiting = self.ahead.iter();
        let is_meant = |waits: &Assignment| waits.is_meant_by(header, registration.boot);
        if let Some(at) = waiting.position(|(waits, _)| is_meant(waits)) {
            let given_back = self.ahead.remove(at).map(|(assignment, _)| assignment);
            self.given_back.extend(given_back);
            // What cannot be sent now is sent with the next pump.
            let _ = self.give_back(wire);
        }
    }

    fn give_back(&mut self, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        while let Some(assignment) = self.given_back.last() {
            let header = attempt_header(Kind::Revoked, assignment);
            wire.send(&mut Head::new(&header), None)?;
            self.given_back.pop();
        }
        Ok(())
    }

    fn handle_registered(
        &mut self,
        message: &Message<'_>,
        wire: &mut impl Wire<P>,
    ) -> Option<WorkerEvent<P>> {
        let header = &message.header;
        if !self.is_answer(header) {
            return None;
        }
        let (worker, epoch) = (WorkerId(header.worker), Epoch(header.epoch));
        let boot = message.boot.unwrap_or_default();
        self.standing = Standing::Up(Registration {
            worker,
            epoch,
            boot,
            payload_max: PayloadMax::told_by(header),
        });
        self.settled = true;
        self.sent = 0;
        self.hand_ins_taken(header.ack);
        self.bring_latest(boot, wire);
        let from_before = |running: &&Assignment| running.boot != boot && running.origin.is_some();
        self.unsaid = self.running.iter().filter(from_before).copied().collect();
        self.pump(wire);
        Some(WorkerEvent::Registered { worker, epoch })
    }

    fn handle_redirect(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<WorkerEvent<P>>, WireError> {
        let endpoint = str::from_utf8(message.body).map_err(|_| WireError::Name)?;
        if !self.is_answer(&message.header) {
            return Ok(None);
        }
        self.standing = Standing::Stranger;
        self.settled = true;
        self.hand_ins_taken(message.header.ack);
        Ok(Some(WorkerEvent::Redirect(endpoint.to_owned())))
    }

    fn handle_evict(&mut self, header: &Header) -> Option<WorkerEvent<P>> {
        let evicted = (WorkerId(header.worker), Epoch(header.epoch));
        (self.registered() == Some(evicted)).then(|| {
            self.standing = Standing::Stranger;
            WorkerEvent::Evicted
        })
    }

    fn handle_rejected(&mut self, header: &Header) -> WorkerEvent<P> {
        if self.is_answer(header) {
            self.standing = Standing::Stranger;
        }
        WorkerEvent::Rejected(Rejection::from_code(header.code))
    }

    /// Whether a message answers our last registration, and not one before it.
    fn is_answer(&self, header: &Header) -> bool {
        self.standing == Standing::Awaiting && header.id == u64::from(self.number)
    }

    /// What is to be stopped. Of what was given to an earlier registration the present one hears.
    fn aborted(&self, header: &Header) -> Option<Assignment> {
        let Standing::Up(registration) = self.standing else {
            return None;
        };
        if registration.incarnation() != (WorkerId(header.worker), Epoch(header.epoch)) {
            return None;
        }
        let mut running = self.running.iter();
        let meant = running.find(|running| running.is_meant_by(header, registration.boot));
        meant.copied()
    }

    /// The attempt that a task names, if our present registration is given it.
    fn assignment(&self, message: &Message<'_>) -> Option<Assignment> {
        let header = &message.header;
        let Standing::Up(registration) = self.standing else {
            return None;
        };
        let assignment = Assignment {
            handle: TaskHandle::from_bits(header.id),
            attempt: Attempt(header.attempt),
            worker: WorkerId(header.worker),
            epoch: Epoch(header.epoch),
            boot: registration.boot,
            origin: message.origin,
        };
        registration.granted(&assignment).then_some(assignment)
    }

    /// Drops the results up to the number that the controller has seen. Nothing of an earlier
    /// registration comes after the answer to the present one, so the numbers cannot be mistaken.
    fn acknowledged(&mut self, header: &Header) {
        if self.registered() != Some((WorkerId(header.worker), Epoch(header.epoch))) {
            return;
        }
        while let Some(Kept {
            delivery: Delivery::Numbered(seq),
            ..
        }) = self.kept.front()
            && *seq <= header.ack
        {
            let acknowledged = self.kept.pop_front();
            acknowledged
                .into_iter()
                .for_each(|kept| self.keep_latest(kept));
        }
    }

    /// Drops the first `count` hand-ins of the registration that was just answered. That is all of
    /// them, unless the controller errs; the others are sent once more, as results.
    fn hand_ins_taken(&mut self, count: u32) {
        let handed_in = |kept: &&mut Kept<P>| kept.delivery == Delivery::HandedIn;
        let hand_ins = self.kept.iter_mut().filter(handed_in);
        let sent = hand_ins
            .map(|kept| kept.delivery = Delivery::Unsent)
            .count();
        for _ in 0..sent.min(count as usize) {
            let taken = self.kept.pop_front();
            taken.into_iter().for_each(|kept| self.keep_latest(kept));
        }
    }

    /// An acknowledged result: the controller has it, but its client may not.
    fn keep_latest(&mut self, kept: Kept<P>) {
        if kept.assignment.origin.is_none() {
            return;
        }
        self.latest_bytes += kept.bytes();
        self.latest.push_back(kept);
        while self.latest.len() > LATEST_MAX || self.latest_bytes > LATEST_BYTES_MAX {
            let oldest = self.latest.pop_front();
            self.latest_bytes -= oldest.as_ref().map_or(0, Kept::bytes);
        }
    }

    /// A controller that was started anew is handed what the one before it may not have passed on.
    /// If it does not arrive, the next restart is another chance.
    fn bring_latest(&mut self, boot: u64, wire: &mut impl Wire<P>) {
        for kept in &self.latest {
            if kept.assignment.boot != boot {
                let _ = self.hand_in(kept, wire);
            }
        }
    }

    fn hand_in(&self, kept: &Kept<P>, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        let mut header = result_header(Kind::HandIn, kept, 0);
        self.name_process(&mut header);
        let mut head = with_past(&header, &kept.assignment);
        wire.send(&mut head, kept.payload.as_ref().map(P::share))
    }

    /// Who says so, in a message that comes before the registration.
    fn name_process(&self, header: &mut Header) {
        header.seq = self.profile.instance as u32;
        header.ack = (self.profile.instance >> 32) as u32;
    }

    /// Tells a controller that was started anew what still runs from before.
    fn say_what_runs(&mut self, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        while let Some(assignment) = self.unsaid.last() {
            let header = attempt_header(Kind::Started, assignment);
            wire.send(&mut with_past(&header, assignment), None)?;
            self.unsaid.pop();
        }
        Ok(())
    }

    /// Hands in what is kept, then registers. If the wire stops taking in between, all is sent once
    /// more: a result that is handed in twice counts once (rule R6).
    fn introduce(&mut self, wire: &mut impl Wire<P>) -> Result<(), SendError> {
        // What has not started is the controller's to settle: it takes it for lost with us (rule
        // R1).
        self.ahead.clear();
        self.output.begin();
        self.given_back.clear();
        self.unsaid.clear();
        for kept in &mut self.kept {
            kept.delivery = Delivery::HandedIn;
        }
        for kept in &self.kept {
            self.hand_in(kept, wire)?;
        }
        for running in &self.running {
            let mut header = attempt_header(Kind::HandIn, running);
            header.code = STILL_RUNS;
            header.flags = header.flags.with(Flags::NO_PAYLOAD);
            self.name_process(&mut header);
            wire.send(&mut Head::new(&header).boot(running.boot), None)?;
        }
        let mut header = Header::new(Kind::Register);
        header.seq = self.number.wrapping_add(1);
        header.id = self.profile.instance;
        header.extra = self.profile.slots;
        header.worker = self.profile.prefetch.into();
        // At most as many as there are slots, and those are 16 bits.
        header.epoch = self.running.len() as u32;
        if self.settled {
            header.flags = header.flags.with(Flags::NO_REDIRECT);
        }
        let labels = match &self.profile.labels[..] {
            [] => None,
            labels => P::from_inline(&write_labels(labels)),
        };
        wire.send(&mut Head::new(&header).name(&self.profile.name), labels)?;
        self.number = header.seq;
        self.standing = Standing::Awaiting;
        Ok(())
    }

    fn send_results(
        &mut self,
        registration: &Registration,
        wire: &mut impl Wire<P>,
    ) -> Result<(), SendError> {
        // Sent ones stand in front; from the back, the unsent ones are found without passing them.
        let unsent = self
            .kept
            .iter()
            .rev()
            .take_while(|kept| kept.delivery == Delivery::Unsent);
        let first = self.kept.len() - unsent.count();
        for kept in self.kept.range_mut(first..) {
            let header = result_header(Kind::Result, kept, self.sent + 1);
            let mut head = if registration.granted(&kept.assignment) {
                Head::new(&header)
            } else {
                with_past(&header, &kept.assignment)
            };
            wire.send(&mut head, kept.payload.as_ref().map(P::share))?;
            self.sent += 1;
            kept.delivery = Delivery::Numbered(self.sent);
        }
        Ok(())
    }
}

/// A message about an attempt of an earlier registration, or of an earlier controller.
fn with_past(header: &Header, assignment: &Assignment) -> Head {
    let head = Head::new(header).boot(assignment.boot);
    match &assignment.origin {
        Some(origin) => head.origin(origin),
        None => head,
    }
}

fn attempt_header(kind: Kind, assignment: &Assignment) -> Header {
    let mut header = Header::new(kind);
    header.flags = Flags::HAS_WORKER;
    header.worker = assignment.worker.0;
    header.epoch = assignment.epoch.0;
    header.id = assignment.handle.to_bits();
    header.attempt = assignment.attempt.0;
    header
}

fn result_header<P>(kind: Kind, kept: &Kept<P>, seq: u32) -> Header {
    let Kept {
        assignment,
        verdict,
        payload,
        ..
    } = kept;
    let mut header = Header::new(kind);
    header.flags = Flags::HAS_WORKER;
    if payload.is_none() {
        header.flags = header.flags.with(Flags::NO_PAYLOAD);
    }
    header.seq = seq;
    header.worker = assignment.worker.0;
    header.epoch = assignment.epoch.0;
    header.id = assignment.handle.to_bits();
    header.attempt = assignment.attempt.0;
    header.code = verdict_to_code(*verdict);
    header
}

impl<P> fmt::Debug for WorkerState<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerState")
            .field("name", &self.profile.name)
            .field("number", &self.number)
            .field("standing", &self.standing)
            .field("running", &self.running.len())
            .field("unacknowledged", &self.kept.len())
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
    fn a_registration_is_renewed_before_its_numbers_run_out() {
        let mut wire = Sent::default();
        let profile = WorkerProfile {
            name: "w".into(),
            instance: 3,
            slots: 2,
            prefetch: 0,
            labels: Vec::new(),
        };
        let mut worker = WorkerState::<Bytes>::new(profile);
        worker.register(&mut wire);
        let mut registered = Header::new(Kind::Registered);
        registered.id = 1;
        worker
            .handle_message(&registered.encode(), Incoming::Alone, &mut wire)
            .unwrap();
        worker.sent = NUMBER_MAX - 1;
        let tasks = [1, 2].map(|id| Header {
            id,
            ..Header::new(Kind::Task)
        });
        let assignments = tasks.map(|task| {
            match worker.handle_message(&task.encode(), Incoming::Alone, &mut wire) {
                Ok(Some(WorkerEvent::Task(assignment, _))) => assignment,
                other => panic!("{other:?} is no task"),
            }
        });
        for assignment in &assignments {
            worker.report(assignment, Verdict::Completed, None, &mut wire);
        }
        let sent = wire
            .0
            .iter()
            .map(|header| (header.kind, header.seq))
            .collect::<Vec<_>>();
        assert_eq!(
            sent,
            [
                (Kind::Register, 1),
                (Kind::Result, NUMBER_MAX),
                (Kind::HandIn, 3),
                (Kind::HandIn, 3),
                (Kind::Register, 2),
            ]
        );
    }
}
