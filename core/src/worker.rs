//! One place of the worker table: an incarnation of a worker, its credit and its tasks.
//!
//! ```text
//!           ┌─ displaced ─▶ Refused ─▶ Free
//! Free ─▶ Pending ── the name is free ─▶ Up ── down ─▶ Leaving ─▶ Retiring ─▶ Drained ─▶ Free
//!   └─────────── the name is free ───────┘ └─▶ Suspect ──┘ ▲ │
//!                                                          │ ▼
//!                                                        Returned
//! ```
//! `Suspect` until its grace is over or the name is back (without a grace: never), `Leaving` until
//! no task names it but those that its process, which is back, still runs: with any of them it is
//! `Returned` until the last is reported or the name is lost again, `Retiring` until its port has
//! emptied the mailbox, `Drained` until no multicast that is being made may mean it and no task
//! waits there for the name's return.

use crate::crew::{COMMON, Class, LabelPlaces};
use crate::event::{RegistrationRefusal, Settled};
use crate::id::{Epoch, NameKey, PortId, Token, WorkerId};
use crate::list::{Link, List, NIL, linked};
use crate::task::Place;
use crate::time::Instant;
use crate::window::Window;

/// Role: workers that have backlog and credit.
pub(crate) enum Ready {}
/// Role: workers of a port with control replies due.
pub(crate) enum Control {}
/// Role: all that were admitted and whose place is not free again, in that order.
pub(crate) enum Roster {}
/// Role: places that are being left, wait to be freed, or are free.
pub(crate) enum Exit {}
/// Role: those whose name is back, and that take over what waited for it.
pub(crate) enum Heirs {}

/// Where a worker's place is in its life; the module's diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Nobody: the place may be given out.
    Free,
    /// Waits until its name's last attachment has left.
    Pending,
    /// Displaced while it waited; its port is still to be told.
    Refused,
    /// Attached.
    Up,
    /// Gone, but it may be back soon.
    Suspect,
    /// Lost; its tasks are being settled.
    Leaving,
    /// Its process is attached again, and still runs what it was given here.
    Returned,
    /// No task names it; its mailbox is still to be drained.
    Retiring,
    /// Its mailbox is empty.
    Drained,
}

/// What a worker's port must be told; each at most once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    pub(crate) admitted: bool,
    pub(crate) refused: Option<RegistrationRefusal>,
    /// Hold or release it, whichever is the case then.
    pub(crate) pause: bool,
    pub(crate) evict: bool,
    pub(crate) retire: bool,
}

/// The record of one place.
#[derive(Debug)]
pub(crate) struct WorkerRecord {
    pub(crate) name: NameKey,
    pub(crate) instance: u64,
    pub(crate) number: u32,
    pub(crate) token: Token,
    pub(crate) port: PortId,
    pub(crate) epoch: Epoch,
    pub(crate) state: WorkerState,
    /// It was or will be asked to leave.
    pub(crate) evicting: bool,
    /// It takes nothing new until it is released.
    pub(crate) held: bool,
    /// It takes nothing new, and leaves once it has finished what it has.
    pub(crate) draining: bool,
    /// Its port says that it takes nothing new.
    pub(crate) paused: bool,
    /// How busy it is; absent if and only if it may be given nothing.
    pub(crate) class: Class,
    /// Slots and prefetch places that nothing is meant for.
    pub(crate) free: u32,
    /// Where it stands in its crews: not behind where it belongs; see `crew`.
    pub(crate) listed: Class,
    /// It was busier for a while since it was listed, or is now.
    pub(crate) was_busy: bool,
    pub(crate) labels: LabelPlaces,
    pub(crate) due: Due,
    pub(crate) slots: u16,
    /// Tasks that it may be sent beyond its slots.
    pub(crate) prefetch: u16,
    /// Slots taken by attempts of earlier incarnations (rule R5).
    pub(crate) busy: u16,
    /// Tasks in its mailbox or running on it.
    pub(crate) taken: u32,
    /// Records that name it, those that wait for its return not included; it cannot retire before
    /// they are gone.
    pub(crate) named: u32,
    /// Credit for directed envelopes.
    pub(crate) window: Window,
    /// The place that waits for its name.
    pub(crate) successor: u32,
    /// How many workers had been lost, ever, this one included, when it was.
    pub(crate) loss: u32,
    /// Tasks for it in its mailbox and tasks running on it, but those whose abort is due.
    pub(crate) assigned: List<Place>,
    /// Tasks for it that wait for its name's return.
    pub(crate) awaiting: List<Place>,
    /// When it last said something.
    pub(crate) heard_at: Instant,
    /// What became of its tasks, once it is lost.
    pub(crate) settled: Settled,
    /// Since when it is gone.
    pub(crate) down_at: Instant,
    /// Its name was back before it counted as lost.
    pub(crate) returned: bool,
    /// Its process is attached again: what it says that it still runs is not lost.
    pub(crate) is_back: bool,
    /// It was lost when we had not run for a while.
    pub(crate) stalled: bool,
    /// What it runs from another controller's time; its slots are among the busy ones.
    pub(crate) adopted: List<Place>,
    /// What it still runs, from before it came back; and how many those are.
    pub(crate) carried: List<Place>,
    pub(crate) carried_len: u32,
    /// It matters when its name returns.
    pub(crate) ghost: bool,
    /// Tasks in its mailbox, or sent ahead, that others may run, too.
    pub(crate) offers: List<Place>,
    /// Tasks that it is to be asked to stop, or to give back.
    pub(crate) aborts: List<Place>,
    pub(crate) ready: Link,
    pub(crate) control: Link,
    pub(crate) roster: Link,
    pub(crate) exit: Link,
    pub(crate) heirs: Link,
}

linked!(WorkerRecord, Ready, ready);
linked!(WorkerRecord, Control, control);
linked!(WorkerRecord, Roster, roster);
linked!(WorkerRecord, Exit, exit);
linked!(WorkerRecord, Heirs, heirs);

impl WorkerRecord {
    /// A place that nobody has.
    pub(crate) const fn vacant() -> Self {
        Self {
            name: NameKey(0),
            instance: 0,
            number: 0,
            token: Token(0),
            port: PortId(0),
            epoch: Epoch(0),
            state: WorkerState::Free,
            evicting: false,
            held: false,
            draining: false,
            paused: false,
            class: Class::ABSENT,
            free: 0,
            listed: Class::ABSENT,
            was_busy: false,
            labels: COMMON,
            due: Due {
                admitted: false,
                refused: None,
                pause: false,
                evict: false,
                retire: false,
            },
            slots: 0,
            prefetch: 0,
            busy: 0,
            taken: 0,
            named: 0,
            window: Window::new(0),
            successor: NIL,
            loss: 0,
            assigned: List::new(),
            awaiting: List::new(),
            heard_at: Instant(0),
            settled: Settled {
                rerun: 0,
                lost: 0,
                requeued: 0,
                carried: 0,
            },
            down_at: Instant(0),
            returned: false,
            is_back: false,
            stalled: false,
            adopted: List::new(),
            carried: List::new(),
            carried_len: 0,
            ghost: false,
            offers: List::new(),
            aborts: List::new(),
            ready: Link::UNLINKED,
            control: Link::UNLINKED,
            roster: Link::UNLINKED,
            exit: Link::UNLINKED,
            heirs: Link::UNLINKED,
        }
    }

    /// Its id, given its place.
    pub(crate) const fn id(index: u32) -> WorkerId {
        WorkerId(index)
    }

    /// Where envelopes in its mailbox are listed: tasks for it alone, or offers.
    #[inline]
    pub(crate) const fn mail(&mut self, directed: bool) -> &mut List<Place> {
        if directed {
            &mut self.assigned
        } else {
            &mut self.offers
        }
    }

    /// Whether what it was given alone stays with it.
    #[inline]
    pub(crate) fn keeps_tasks(&self) -> bool {
        matches!(self.state, WorkerState::Up | WorkerState::Suspect)
    }

    /// Whether its process can be told to stop what it was given here.
    #[inline]
    pub(crate) fn may_be_asked(&self) -> bool {
        matches!(self.state, WorkerState::Up | WorkerState::Returned)
    }

    /// Whether it is attached.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.state == WorkerState::Up
    }

    /// Whether it may be given anything; see also `class`. Not before its port was told that it is
    /// admitted: until then there is no mailbox.
    #[inline]
    fn is_open(&self) -> bool {
        let barred = self.evicting || self.held || self.draining || self.due.admitted;
        self.is_up() && !barred
    }

    /// Whether tasks for it are accepted. Those for one that may be back soon wait for that.
    pub(crate) fn takes_submits(&self) -> bool {
        self.keeps_tasks() && !self.draining
    }

    /// How busy it is, and how many slots and prefetch places nothing is meant for: what follows
    /// from its other fields.
    #[inline]
    pub(crate) fn load_now(&self) -> (Class, u32) {
        if !self.is_open() {
            return (Class::ABSENT, 0);
        }
        let (load, slots) = (self.load(), u32::from(self.slots));
        let places = slots + u32::from(self.prefetch);
        let class = if load > slots && !self.offers.is_empty() {
            Class::OVER
        } else {
            Class::of(load, slots, places, self.window.room() > 0)
        };
        (class, places.saturating_sub(load))
    }

    /// Slots taken, and tasks that wait for one.
    #[inline]
    fn load(&self) -> u32 {
        u32::from(self.busy) + self.taken
    }

    /// Whether its port must be told something.
    pub(crate) fn has_control(&self) -> bool {
        let Due {
            admitted,
            refused,
            pause,
            evict,
            retire,
        } = self.due;
        let aborts = self.may_be_asked() && !self.aborts.is_empty();
        admitted || refused.is_some() || pause || evict || retire || aborts
    }
}
