//! Orders to take tasks away.
//!
//! To sweep the tasks of one client is to walk through that client's open tasks, and through the
//! parts of its multicasts. To sweep a topic is to walk through what waits for it, and then through
//! what is out and has not started: in the pool, and in the mailboxes of the workers that may have
//! it. To sweep by age, or everything, is to walk through the slab, since all that is there may be
//! meant. Either way a poll does as many steps as it may, and what is taken away costs O(1) each.

use super::control::{Choice, Filter};
use super::tasks::label_of;
use super::{Scheduler, Step};
use crate::control::Sweep;
use crate::effect::Reply;
use crate::id::{PortId, Token};
use crate::list::NIL;
use crate::task::{Ending, Home, Kind, Route, TaskRecord, TaskState, Wish};
use crate::time::{Instant, Tick};

/// An order to take tasks away, until its port has been told the number.
#[derive(Clone, Copy, Debug)]
pub(super) struct SweepRecord {
    port: PortId,
    token: Token,
    filter: Filter,
    /// The latest tick in which a task that is meant was accepted.
    cutoff: Tick,
    /// Where to look next; none as long as that is not decided.
    walk: Option<Walk>,
    touched: u32,
    done: bool,
}

/// What is still to be looked at.
#[derive(Clone, Copy, Debug)]
enum Walk {
    /// Places of the table. They do not move.
    Places { next: u32, end: u32 },
    /// What waits for one topic, then what is out and has not started; see
    /// [`Scheduler::walk_topic`].
    Topic(Stage),
    /// Open tasks of one client, and the parts of those that are multicasts. A task is in that list
    /// from its submit to its end, so none is missed or met twice; one that leaves it passes the
    /// walk on to the one behind (see [`Scheduler::step_over`]).
    Open {
        next: Option<u32>,
        /// The next part of the multicast that was met last.
        part: Option<u32>,
        /// Steps to go, parts not counted: what joins later joins behind.
        left: u32,
    },
}

/// How far the walk through a topic is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The flows of its backlog.
    Flows,
    /// The pool, so many still to be looked at.
    Pool { left: u32 },
    /// What is run again and waits for another worker, or waits for its worker's return.
    Apart,
    /// What was handed to this worker.
    Mailbox { place: u32 },
}

impl Walk {
    const NOWHERE: Self = Self::Places { next: 0, end: 0 };
}

impl SweepRecord {
    /// Whether a task is to be taken away, if it has not started.
    fn means(&self, record: &TaskRecord) -> bool {
        record.born.is_by(self.cutoff) && self.filter.has(record)
    }
}

impl Scheduler {
    /// Orders that may wait for their turn or for their answer to be polled.
    pub const SWEEPS_MAX: usize = 16;

    /// Takes away all selected tasks that have been accepted by now (up to a millisecond) and have
    /// not started; each ends as `Cancelled`. The work is spread over polls; then
    /// [`Reply::Swept`] tells the port exactly how many there were. `false`, and nothing happens,
    /// when [`SWEEPS_MAX`](Self::SWEEPS_MAX) orders wait already, or the port does not exist.
    #[must_use]
    pub fn handle_sweep(&mut self, now: Instant, port: PortId, sweep: Sweep) -> bool {
        let Choice { filter, age_min } = self.choice_of(sweep.select);
        // One task needs no search; a multicast has parts somewhere.
        let one = match filter {
            Filter::Task(owner, task) => self.find_task(owner, task),
            _ => None,
        };
        let one = one.filter(|index| self.tasks.records[*index as usize].kind == Kind::Single);
        let order = SweepRecord {
            port,
            token: sweep.token,
            filter,
            cutoff: Tick(Tick::of(now).0.wrapping_sub(age_min as u32)),
            walk: one.map(|next| Walk::Places {
                next,
                end: next + 1,
            }),
            touched: 0,
            // Nothing is older than half of the circle of ticks.
            done: age_min > u64::from(u32::MAX / 2),
        };
        let taken = self.has_port(port) && self.sweeps.try_push(order).is_ok();
        if taken && order.done {
            self.mark_port(port);
        }
        taken
    }

    /// One place for the order whose turn it is. Only while nothing is being withdrawn: so each
    /// withdrawal is counted before the order is done.
    pub(super) fn step_sweep(&mut self) -> Step {
        if !self.revokes.is_empty() {
            return Step::Idle;
        }
        let Some(at) = self.sweeps.iter().position(|order| !order.done) else {
            return Step::Idle;
        };
        let order = &mut self.sweeps[at];
        // The usual way of most steps, without a copy of the order.
        if let Some(Walk::Places { next, end }) = &mut order.walk
            && *next < *end
        {
            let index = *next;
            *next += 1;
            let (filter, cutoff) = (order.filter, order.cutoff);
            self.sweep_place(filter, cutoff, index);
            return Step::Silent;
        }
        let order = *order;
        let Some(walk) = order.walk else {
            return self.start_sweep(at);
        };
        if let (Walk::Topic(stage), Filter::Home(home)) = (walk, order.filter)
            && let Some(next) = self.walk_topic(&order, home, stage)
        {
            self.sweeps[at].walk = Some(Walk::Topic(next));
            return Step::Silent;
        }
        // The order knows where it goes on before the task that is met leaves its list.
        let (rest, met) = self.advance(walk);
        self.sweeps[at].walk = Some(rest);
        if let Some(index) = met {
            self.sweep_place(order.filter, order.cutoff, index);
        } else if self.removing > 0 {
            // Their workers decide whether they count.
            return Step::Idle;
        } else {
            self.sweeps[at].done = true;
            self.mark_port(order.port);
        }
        Step::Silent
    }

    /// The next task of a walk through a client's, and the walk from there on; nothing at its end.
    fn advance(&self, walk: Walk) -> (Walk, Option<u32>) {
        match walk {
            Walk::Open {
                next,
                part: Some(part),
                left,
            } => {
                let rest = Walk::Open {
                    next,
                    part: self.owned_after(part),
                    left,
                };
                (rest, Some(part))
            }
            Walk::Open {
                next: Some(next),
                left: left @ 1..,
                ..
            } => {
                let rest = Walk::Open {
                    next: self.owned_after(next),
                    part: self.tasks.records[next as usize].parts.open.front(),
                    left: left - 1,
                };
                (rest, Some(next))
            }
            Walk::Places { .. } | Walk::Topic(_) | Walk::Open { .. } => (walk, None),
        }
    }

    /// The task behind an open one in its client's list; of a part, in its multicast's.
    fn owned_after(&self, index: u32) -> Option<u32> {
        let records = &self.tasks.records;
        let record = &records[index as usize];
        let list = match record.multicast() {
            NIL => &self.clients[record.client as usize].open,
            whole => &records[whole as usize].parts.open,
        };
        list.after(records, index)
    }

    /// An open task is about to leave its client or its multicast: an order that would look at it
    /// next looks at the one behind it.
    #[inline]
    pub(super) fn step_over(&mut self, index: u32) {
        if !self.sweeps.is_empty() {
            self.pass_on_walks(index);
        }
    }

    fn pass_on_walks(&mut self, index: u32) {
        let behind = self.owned_after(index);
        for order in &mut self.sweeps {
            if let Some(Walk::Open { next, part, .. }) = &mut order.walk {
                for at in [next, part] {
                    if *at == Some(index) {
                        *at = behind;
                    }
                }
            }
        }
    }

    /// The first look: not before all parts that are meant have been made.
    fn start_sweep(&mut self, at: usize) -> Step {
        let order = &mut self.sweeps[at];
        let unmade = self.making.front().is_some_and(|whole| {
            let born = self.tasks.records[whole as usize].born;
            born.is_by(order.cutoff)
        });
        if unmade {
            return Step::Idle;
        }
        let filter = order.filter;
        self.backlogs.start_walk();
        self.sweeps[at].walk = Some(self.walk_of(filter));
        Step::Silent
    }

    /// The shortest way past all tasks that are meant.
    fn walk_of(&self, filter: Filter) -> Walk {
        match filter {
            Filter::Nothing => Walk::NOWHERE,
            Filter::Client(owner) => {
                let client = &self.clients[owner as usize];
                Walk::Open {
                    next: client.open.front(),
                    part: None,
                    left: client.held,
                }
            }
            Filter::Task(owner, task) => {
                let whole = self.find_task(owner, task);
                let is_spread =
                    |index: &u32| self.tasks.records[*index as usize].state == TaskState::Spread;
                Walk::Open {
                    next: whole.filter(is_spread),
                    part: None,
                    left: 1,
                }
            }
            Filter::Home(_) => Walk::Topic(Stage::Flows),
            Filter::All | Filter::Parts => Walk::Places {
                next: 0,
                end: self.tasks.records.len() as u32,
            },
        }
    }

    /// One step of the walk through a topic; where it goes on, or nothing at its end.
    ///
    /// A task that has not started moves in a circle only: out of a flow, into the pool or a
    /// mailbox, and when it comes back, to the front of a flow, which then is walked once more. So
    /// none that waits all the time is missed. (Those that wait apart have been run before.)
    fn walk_topic(&mut self, order: &SweepRecord, home: Home, stage: Stage) -> Option<Stage> {
        let (filter, cutoff) = (order.filter, order.cutoff);
        let route = home.route();
        Some(match stage {
            Stage::Flows => match self.backlogs.walk(&self.tasks.records, home) {
                Some(index) => {
                    self.sweep_place(filter, cutoff, index);
                    stage
                }
                None => Stage::Pool {
                    left: match route {
                        Route::Any => self.pool.outstanding(),
                        _ => 0,
                    },
                },
            },
            Stage::Pool { left } => match self.pooled.pop_front(&mut self.tasks.records) {
                Some(index) if left > 0 => {
                    // To the end: how those in the pool stand in this list matters to nobody.
                    self.pooled.push_back(&mut self.tasks.records, index);
                    self.sweep_place(filter, cutoff, index);
                    Stage::Pool { left: left - 1 }
                }
                popped => {
                    if let Some(index) = popped {
                        self.pooled.push_front(&mut self.tasks.records, index);
                    }
                    Stage::Apart
                }
            },
            Stage::Apart => match self.find_apart(order, route) {
                Some(index) => {
                    self.remove_task(index);
                    stage
                }
                None => Stage::Mailbox {
                    place: match route {
                        Route::Worker(place) => place,
                        _ => 0,
                    },
                },
            },
            Stage::Mailbox { place } if (place as usize) < self.workers.len() => {
                self.sweep_mailbox(order, place);
                match route {
                    Route::Worker(_) => Stage::Mailbox { place: NIL },
                    _ => Stage::Mailbox { place: place + 1 },
                }
            }
            Stage::Mailbox { .. } if self.backlogs.is_walked(home) => return None,
            Stage::Mailbox { .. } => Stage::Flows,
        })
    }

    /// One that waits in no flow.
    fn find_apart(&self, order: &SweepRecord, route: Route) -> Option<u32> {
        let list = match route {
            Route::Worker(place) => self.workers[place as usize].awaiting,
            _ => self.crews.labels[label_of(route) as usize].again,
        };
        let records = &self.tasks.records;
        let mut waiting = list.iter(records);
        waiting.find(|index| order.means(&records[*index as usize]))
    }

    /// Takes away what one worker was handed of a topic and has not started: at most what its slots
    /// and its mailbox hold.
    fn sweep_mailbox(&mut self, order: &SweepRecord, place: u32) {
        let worker = &self.workers[place as usize];
        for list in [worker.assigned, worker.offers, worker.aborts] {
            let mut at = list.front();
            while let Some(index) = at {
                at = list.after(&self.tasks.records, index);
                self.sweep_place(order.filter, order.cutoff, index);
            }
        }
    }

    #[inline]
    fn sweep_place(&mut self, filter: Filter, cutoff: Tick, index: u32) {
        let record = &self.tasks.records[index as usize];
        let meant = record.born.is_by(cutoff) && filter.has(record);
        match record.state {
            TaskState::Backlogged if meant => self.remove_task(index),
            _ if meant => self.withdraw(index, Wish::Remove),
            _ => {}
        }
    }

    /// Ends a task that queue control takes away, and counts it.
    pub(super) fn remove_task(&mut self, index: u32) {
        let started = self.tasks.records[index as usize].started_before();
        self.stats.removed += 1;
        if let Some(order) = self.sweeps.iter_mut().find(|order| !order.done) {
            order.touched += 1;
        }
        self.end(index, Ending::Cancelled { started }, false);
    }

    /// Whether an order is not done.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweeps.iter().any(|order| !order.done)
    }

    /// The answer to an order of this port that is done.
    pub(super) fn poll_swept(&mut self, port: PortId) -> Option<Reply> {
        if self.sweeps.is_empty() {
            return None;
        }
        let mut orders = self.sweeps.iter();
        let at = orders.position(|order| order.done && order.port == port)?;
        let SweepRecord { token, touched, .. } = self.sweeps.remove(at);
        Some(Reply::Swept { token, touched })
    }
}
