//! Backlogs: what waits in the core, by topic, priority and client.
//!
//! ```text
//! backlog (any, a worker, a label)
//!   └─ level 7 … 0, strictly one after the other
//!        └─ flows, in turn: one per client that has something there
//!             └─ tasks, first in first out
//! ```
//! So a client's million tasks delay another's ten by no more than their own number. A flow is
//! found by hashing (topic, level, client); the flow that was added to last is remembered, also
//! when it is empty, because the next task most likely belongs to it. Every operation is O(1).

use alloc::vec::Vec;

use crate::id::Priority;
use crate::index::{Hash, Index};
use crate::list::{Link, List, NIL, linked};
use crate::task::{Home, Place, Route, TaskRecord};

/// Role: flows of one level, in turn; or flows that are free.
pub(crate) enum Turns {}

/// The waiting tasks of one client at one level of one backlog.
#[derive(Debug)]
struct Flow {
    tasks: List<Place>,
    /// In the turns of its level while it has tasks, or on the free list.
    turn: Link,
    home: Home,
    client: u32,
    level: Priority,
    /// The last walk that needs not look at it: it has, or what has joined since is new.
    walked: u32,
}

linked!(Flow, Turns, turn);

/// What waits for one topic.
#[derive(Clone, Debug)]
struct Backlog {
    turns: [List<Turns>; Priority::COUNT],
    /// How many tasks wait, those that wait outside of the flows included.
    depth: [u32; Priority::COUNT],
    /// One bit per level that has flows in turn.
    occupied: u8,
    /// The flow that was added to last, or [`NIL`]: the only one that may be empty.
    last: u32,
}

impl Backlog {
    const EMPTY: Self = Self {
        turns: [List::new(); Priority::COUNT],
        depth: [0; Priority::COUNT],
        occupied: 0,
        last: NIL,
    };
}

/// All backlogs.
#[derive(Debug)]
pub(crate) struct Backlogs {
    /// That of `any`, then one per place of the worker table, then one per place for a label.
    all: Vec<Backlog>,
    workers: usize,
    flows: Vec<Flow>,
    free: List<Turns>,
    index: Index,
    /// The number of the present walk, and the task that it looks at next, or [`NIL`].
    walk: u32,
    cursor: u32,
}

impl Backlogs {
    /// Empty backlogs. There is a flow for each task and an empty one for each backlog, so none
    /// is ever lacking; flows that are never used are never touched.
    pub(crate) fn new(tasks: u32, workers: u32, labels: u32) -> Self {
        let homes = 1 + workers + labels;
        let flows = tasks + homes;
        Self {
            all: alloc::vec![Backlog::EMPTY; homes as usize],
            workers: workers as usize,
            flows: Vec::with_capacity(flows as usize),
            free: List::new(),
            index: Index::new(flows),
            walk: 0,
            cursor: NIL,
        }
    }

    /// Whether nothing waits in turn there.
    #[inline]
    pub(crate) fn is_empty(&self, home: Home) -> bool {
        self.all[self.slot(home)].occupied == 0
    }

    /// How many tasks wait for a topic at one level.
    pub(crate) fn depth(&self, home: Home, level: Priority) -> u32 {
        self.all[self.slot(home)].depth[level.index()]
    }

    /// Counts a task as waiting for its topic.
    #[inline]
    pub(crate) fn count_in(&mut self, task: &TaskRecord) {
        let slot = self.slot(task.home);
        self.all[slot].depth[task.priority.index()] += 1;
    }

    /// Counts a task as waiting no more.
    #[inline]
    pub(crate) fn count_out(&mut self, task: &TaskRecord) {
        let slot = self.slot(task.home);
        self.all[slot].depth[task.priority.index()] -= 1;
    }

    /// Appends a task to its client's flow.
    pub(crate) fn push_back(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let flow = self.flow_of(&tasks[index as usize]);
        tasks[index as usize].detail = flow;
        let record = &mut self.flows[flow as usize];
        record.tasks.push_back(tasks, index);
        if !record.turn.is_linked() {
            let (home, level) = (record.home, record.level.index());
            let slot = self.slot(home);
            let backlog = &mut self.all[slot];
            backlog.turns[level].push_back(&mut self.flows, flow);
            backlog.occupied |= 1 << level;
        }
    }

    /// Puts a task before all others of its level.
    pub(crate) fn push_front(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let flow = self.flow_of(&tasks[index as usize]);
        tasks[index as usize].detail = flow;
        let record = &mut self.flows[flow as usize];
        record.tasks.push_front(tasks, index);
        // What comes back has to be met, whether or not its flow has been.
        record.walked = self.walk.wrapping_sub(1);
        let (home, level, linked) = (record.home, record.level.index(), record.turn.is_linked());
        let slot = self.slot(home);
        let backlog = &mut self.all[slot];
        if linked {
            backlog.turns[level].remove(&mut self.flows, flow);
        }
        backlog.turns[level].push_front(&mut self.flows, flow);
        backlog.occupied |= 1 << level;
    }

    /// The task that is next.
    pub(crate) fn front(&self, home: Home) -> Option<u32> {
        let backlog = &self.all[self.slot(home)];
        let level = backlog.occupied.checked_ilog2()? as usize;
        let flow = backlog.turns[level].front()?;
        self.flows[flow as usize].tasks.front()
    }

    /// Takes out the task that is next; its client waits for its next turn.
    #[inline]
    pub(crate) fn pop_front(&mut self, tasks: &mut [TaskRecord], home: Home) -> Option<u32> {
        let slot = self.slot(home);
        let backlog = &mut self.all[slot];
        let level = backlog.occupied.checked_ilog2()? as usize;
        let flow = backlog.turns[level].front()?;
        let record = &mut self.flows[flow as usize];
        let index = record.tasks.front()?;
        if self.cursor == index {
            self.cursor = record.tasks.after(tasks, index).unwrap_or(NIL);
        }
        record.tasks.remove(tasks, index);
        if record.tasks.is_empty() {
            self.leave_turn(flow);
        } else if !backlog.turns[level].is_last(flow) {
            backlog.turns[level].remove(&mut self.flows, flow);
            backlog.turns[level].push_back(&mut self.flows, flow);
        }
        Some(index)
    }

    /// Takes out any task that is in a flow.
    pub(crate) fn remove(&mut self, tasks: &mut [TaskRecord], index: u32) {
        let flow = tasks[index as usize].detail;
        let record = &mut self.flows[flow as usize];
        if self.cursor == index {
            self.cursor = record.tasks.after(tasks, index).unwrap_or(NIL);
        }
        record.tasks.remove(tasks, index);
        if record.tasks.is_empty() {
            self.leave_turn(flow);
        }
    }

    /// Begins a walk through one backlog; there is one at a time.
    pub(crate) fn start_walk(&mut self) {
        self.walk = self.walk.wrapping_add(1);
        self.cursor = NIL;
    }

    /// The next task of the walk, whatever has joined and left meanwhile. What is put back before
    /// all others is met, too; what joins behind may be. Looks at each flow in turn, if it has to
    /// find the next one: at most as many as there are clients, for each level.
    pub(crate) fn walk(&mut self, tasks: &[TaskRecord], home: Home) -> Option<u32> {
        if self.cursor == NIL {
            let flow = self.find_unwalked(home)?;
            self.flows[flow as usize].walked = self.walk;
            self.cursor = self.flows[flow as usize].tasks.front()?;
        }
        let index = self.cursor;
        let flow = tasks[index as usize].detail as usize;
        self.cursor = self.flows[flow].tasks.after(tasks, index).unwrap_or(NIL);
        Some(index)
    }

    /// Whether nothing is left to be met.
    pub(crate) fn is_walked(&self, home: Home) -> bool {
        self.cursor == NIL && self.find_unwalked(home).is_none()
    }

    fn find_unwalked(&self, home: Home) -> Option<u32> {
        let backlog = &self.all[self.slot(home)];
        let mut flows = backlog
            .turns
            .iter()
            .flat_map(|turns| turns.iter(&self.flows));
        flows.find(|flow| self.flows[*flow as usize].walked != self.walk)
    }

    /// An empty flow takes no turns; it is given up unless it was added to last.
    fn leave_turn(&mut self, flow: u32) {
        let record = &self.flows[flow as usize];
        let (slot, level) = (self.slot(record.home), record.level.index());
        let backlog = &mut self.all[slot];
        backlog.turns[level].remove(&mut self.flows, flow);
        if backlog.turns[level].is_empty() {
            backlog.occupied &= !(1 << level);
        }
        if backlog.last != flow {
            self.give_up(flow);
        }
    }

    /// The flow that a task belongs to.
    #[inline]
    fn flow_of(&mut self, task: &TaskRecord) -> u32 {
        let slot = self.slot(task.home);
        let last = self.all[slot].last;
        if last != NIL {
            let flow = &self.flows[last as usize];
            if flow.client == task.client && flow.level == task.priority {
                return last;
            }
        }
        self.all[slot].last = NIL;
        if last != NIL && self.flows[last as usize].tasks.is_empty() {
            self.give_up(last);
        }
        let flow = self.find_or_make(task);
        self.all[slot].last = flow;
        flow
    }

    fn find_or_make(&mut self, task: &TaskRecord) -> u32 {
        let hash = flow_hash(task.home, task.priority, task.client);
        let flows = &self.flows;
        let found = self.index.find(hash, |flow| {
            let flow = &flows[flow as usize];
            flow.client == task.client && flow.home == task.home && flow.level == task.priority
        });
        if let Some(flow) = found {
            return flow;
        }
        let made = Flow {
            tasks: List::new(),
            turn: Link::UNLINKED,
            home: task.home,
            client: task.client,
            level: task.priority,
            walked: self.walk,
        };
        let flow = match self.free.pop_front(&mut self.flows) {
            Some(flow) => {
                self.flows[flow as usize] = made;
                flow
            }
            None => {
                debug_assert!(self.flows.len() < self.flows.capacity(), "a flow per task");
                self.flows.push(made);
                self.flows.len() as u32 - 1
            }
        };
        self.index.insert(hash, flow);
        flow
    }

    fn give_up(&mut self, flow: u32) {
        let flows = &self.flows;
        let hash_of = |flow: u32| {
            let flow = &flows[flow as usize];
            flow_hash(flow.home, flow.level, flow.client)
        };
        self.index.remove(hash_of(flow), flow, hash_of);
        self.free.push_front(&mut self.flows, flow);
    }

    #[inline]
    fn slot(&self, home: Home) -> usize {
        if let Route::Label(label) = home.route() {
            return 1 + self.workers + label as usize;
        }
        // `any` and workers are numbered like their backlogs.
        home.bits() as usize
    }

    /// Checks every flow, the slow way: `waits` says which tasks are to be in one.
    ///
    /// # Panics
    /// When something is not what it should be.
    pub(crate) fn check(&self, tasks: &[TaskRecord], waits: impl Fn(&TaskRecord) -> bool) {
        let (mut listed, mut used) = (0, 0);
        for backlog in &self.all {
            for (level, turns) in backlog.turns.iter().enumerate() {
                let occupied = backlog.occupied & (1 << level) != 0;
                assert_eq!(occupied, !turns.is_empty(), "a level's bit");
                for flow in turns.iter(&self.flows) {
                    let record = &self.flows[flow as usize];
                    assert_eq!(record.level.index(), level, "a flow of another level");
                    assert!(!record.tasks.is_empty(), "an empty flow in turn");
                    used += 1;
                    for task in record.tasks.iter(tasks) {
                        let task = &tasks[task as usize];
                        assert!(waits(task), "not waiting, but in a flow: {task:?}");
                        assert!(task.detail == flow && task.home == record.home);
                        assert!(task.client == record.client && task.priority == record.level);
                        listed += 1;
                    }
                }
            }
            let last = self.flows.get(backlog.last as usize);
            used += u32::from(last.is_some_and(|flow| flow.tasks.is_empty()));
        }
        let waiting = tasks.iter().filter(|task| waits(task)).count();
        assert_eq!(listed, waiting, "tasks in flows");
        assert_eq!(self.index.len(), used, "flows in the index");
    }
}

fn flow_hash(home: Home, level: Priority, client: u32) -> Hash {
    let topic = (u64::from(home.bits()) << 8) | level.index() as u64;
    Hash::of(topic, u64::from(client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    const TASKS: usize = 12;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Back(usize, u32, u8),
        Front(usize, u32, u8),
        Remove(usize),
        Pop,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..TASKS, 0u32..3, 0u8..3).prop_map(|(t, c, l)| Op::Back(t, c, l)),
            (0..TASKS, 0u32..3, 0u8..3).prop_map(|(t, c, l)| Op::Front(t, c, l)),
            (0..TASKS).prop_map(Op::Remove),
            Just(Op::Pop),
        ]
    }

    /// Flows in turn, most urgent level last.
    type Model = [VecDeque<(u32, VecDeque<u32>)>; Priority::COUNT];

    fn join(model: &mut Model, level: usize, client: u32, task: u32, front: bool) {
        let turns = &mut model[level];
        let at = turns.iter().position(|(c, _)| *c == client);
        let mut flow = at.and_then(|at| if front { turns.remove(at) } else { None });
        match (at, front) {
            (Some(at), false) => turns[at].1.push_back(task),
            (None, false) => turns.push_back((client, VecDeque::from([task]))),
            (_, true) => {
                let (_, tasks) = flow.get_or_insert_with(|| (client, VecDeque::new()));
                tasks.push_front(task);
                turns.extend(flow);
                turns.rotate_right(1);
            }
        }
    }

    fn pop(model: &mut Model) -> Option<u32> {
        let turns = model.iter_mut().rev().find(|turns| !turns.is_empty())?;
        let (client, mut tasks) = turns.pop_front()?;
        let task = tasks.pop_front();
        if !tasks.is_empty() {
            turns.push_back((client, tasks));
        }
        task
    }

    proptest! {
        #[test]
        fn behaves_like_queues_of_queues(ops in proptest::collection::vec(op(), 0..120)) {
            let home = Home::ANY;
            let mut backlogs = Backlogs::new(TASKS as u32, 1, 1);
            let mut tasks: Vec<TaskRecord> =
                (0..TASKS).map(|_| TaskRecord::untouched()).collect();
            let mut model = Model::default();
            for op in ops {
                match op {
                    Op::Back(t, client, level) | Op::Front(t, client, level)
                        if !tasks[t].place.is_linked() =>
                    {
                        tasks[t].client = client;
                        tasks[t].priority = Priority::new(level);
                        let front = matches!(op, Op::Front(..));
                        if front {
                            backlogs.push_front(&mut tasks, t as u32);
                        } else {
                            backlogs.push_back(&mut tasks, t as u32);
                        }
                        join(&mut model, usize::from(level), client, t as u32, front);
                    }
                    Op::Remove(t) if tasks[t].place.is_linked() => {
                        backlogs.remove(&mut tasks, t as u32);
                        for turns in &mut model {
                            for (_, tasks) in turns.iter_mut() {
                                tasks.retain(|task| *task != t as u32);
                            }
                            turns.retain(|(_, tasks)| !tasks.is_empty());
                        }
                    }
                    Op::Pop => {
                        prop_assert_eq!(backlogs.pop_front(&mut tasks, home), pop(&mut model));
                    }
                    _ => {}
                }
                backlogs.check(&tasks, |task| task.place.is_linked());
            }
            while let Some(task) = pop(&mut model) {
                prop_assert_eq!(backlogs.pop_front(&mut tasks, home), Some(task));
            }
            prop_assert!(backlogs.is_empty(home));
        }
    }
}
