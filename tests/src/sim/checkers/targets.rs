//! I5: a directed task starts on its target, and a multicast once on each of its own.

use taskyard_core::{
    LabelKey, Labels, NameKey, Refusal, Submit, Submitted, Target, TaskHandle, WorkerId,
};

use super::BySlot;
use crate::sim::fact::{Fact, Job, Post};
use crate::sim::options::{Options, Size};

#[derive(Clone, Copy, Debug)]
enum Where {
    Anywhere,
    /// A place whose new tenant had not been told.
    Worker(WorkerId),
    Named(NameKey),
    Label(LabelKey),
    Part(TaskHandle),
}

#[derive(Debug)]
pub(crate) struct Targets {
    tasks: BySlot<Where>,
    /// Where parts of a multicast have started.
    spread: Vec<(TaskHandle, Post)>,
    /// Asked to leave: refused as a target, and otherwise as any other.
    draining: Vec<Post>,
    draining_next: Vec<WorkerId>,

    /// By place: who is up, and its name.
    up: Vec<Option<(Post, NameKey)>>,
    /// Of all whose mailbox has not come back.
    names: Vec<(Post, NameKey, Labels)>,
}

impl Targets {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            tasks: BySlot::new(options.size(Size::Tasks) as usize),
            spread: Vec::new(),
            draining: Vec::new(),
            draining_next: Vec::new(),
            up: Vec::new(),
            names: Vec::new(),
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Admitted {
                post, name, labels, ..
            } => {
                let place = post.worker.0 as usize;
                if self.up.len() <= place {
                    self.up.resize(place + 1, None);
                }
                assert!(
                    self.up[place].is_none(),
                    "I5: {post:?} is admitted to a place in use"
                );
                let twice = self.up.iter().flatten().any(|(_, other)| *other == name);
                assert!(!twice, "I5: {name:?} is admitted twice");
                self.up[place] = Some((post, name));
                if self.draining_next.contains(&post.worker) {
                    self.draining_next.retain(|other| *other != post.worker);
                    self.draining.push(post);
                }
                self.names.push((post, name, labels));
            }
            Fact::WorkerDown(post) => {
                let place = self.up.get_mut(post.worker.0 as usize);
                if let Some(place) = place.filter(|up| up.is_some_and(|(other, _)| other == post)) {
                    *place = None;
                }
            }
            Fact::DrainAsked(worker) => {
                match self.up_at(worker) {
                    Some((post, _)) => self.draining.push(post),
                    // Perhaps it is there already, and has not been told.
                    None => self.draining_next.push(worker),
                }
            }
            Fact::Drained(post) => self.names.retain(|(other, ..)| *other != post),
            Fact::Submitted { submit, answer, .. } => self.submitted(&submit, answer),
            Fact::Shared { from, to } => {
                self.tasks.insert(to, Where::Part(from));
            }
            Fact::Started(job) => self.started(job),
            Fact::Released(handle) => self.forget(handle),
            Fact::Outcome(reply, _) if !reply.part => self.forget(reply.handle),
            _ => {}
        }
    }

    fn forget(&mut self, whole: TaskHandle) {
        self.spread.retain(|(other, _)| *other != whole);
    }

    fn submitted(&mut self, submit: &Submit, answer: Submitted) {
        let target = submit.target;
        if let Submitted::Refused(refusal) = answer {
            let mut up = self.up.iter().flatten();
            let found = match (refusal, target) {
                (Refusal::NoSuchWorker, Target::Worker(worker)) => self.up_at(worker),
                (Refusal::NoSuchName, Target::Named(name)) => {
                    up.find(|(_, other)| *other == name).copied()
                }
                _ => None,
            };
            let is_up = found.is_some_and(|(post, _)| !self.draining.contains(&post));
            assert!(!is_up, "I5: {target:?} is attached, and {refusal:?}");
        }
        if let Submitted::Accepted(handle) = answer {
            let place = match target {
                // Whoever has its name, if the worker comes back.
                Target::Worker(worker) => match self.up_at(worker) {
                    Some((_, name)) => Where::Named(name),
                    None => Where::Worker(worker),
                },
                Target::Label(label) => Where::Label(label),
                Target::Named(name) => Where::Named(name),
                _ => Where::Anywhere,
            };
            self.tasks.insert(handle, place);
        }
    }

    fn up_at(&self, worker: WorkerId) -> Option<(Post, NameKey)> {
        *self.up.get(worker.0 as usize)?
    }

    /// Under which name this incarnation is known.
    pub(crate) fn name_of(&self, post: Post) -> Option<NameKey> {
        let entry = self.names.iter().find(|(other, ..)| *other == post);
        entry.map(|(_, name, _)| *name)
    }

    /// Whether somebody has asked it to leave.
    pub(crate) fn is_draining(&self, post: Post) -> bool {
        self.draining.contains(&post)
    }

    /// Whether this incarnation has announced a label.
    pub(crate) fn has_label(&self, post: Post, label: LabelKey) -> bool {
        let entry = self.names.iter().find(|(other, ..)| *other == post);
        entry.is_some_and(|(_, _, labels)| labels.iter().any(|other| other == label))
    }

    fn started(&mut self, job: Job) {
        let Some(place) = self.tasks.get(job.handle).copied() else {
            return;
        };
        match place {
            Where::Anywhere => {}
            Where::Worker(worker) => {
                // It was not told who that is, and a name's next worker has another place.
                let is_new = self.names.iter().any(|(post, ..)| *post == job.post);
                assert!(is_new, "I5: {job:?} is for {worker:?}");
            }
            Where::Named(name) => {
                let entry = self.names.iter().find(|(post, ..)| *post == job.post);
                assert_eq!(entry.map(|entry| entry.1), Some(name), "I5: {job:?}");
            }
            Where::Label(label) => {
                assert!(
                    self.has_label(job.post, label),
                    "I5: {job:?} has not {label:?}"
                );
            }
            Where::Part(whole) => {
                let entry = (whole, job.post);
                assert!(
                    !self.spread.contains(&entry),
                    "I5: {job:?} is the second part there"
                );
                self.spread.push(entry);
            }
        }
    }
}
