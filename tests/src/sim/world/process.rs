//! Worker processes: they run what they are sent, keep what is not acknowledged, and come back.

use std::collections::VecDeque;

use taskyard_core::{Epoch, Instant, Labels, NameKey, Registration, Report, Token, Verdict};

use super::World;
use super::line::{FromWorker, NOBODY, ToWorker, WorkerLine};
use crate::sim::breakage::Break;
use crate::sim::fact::{Job, Post, job_of};
use crate::sim::options::Fault;

/// One process; it outlives its lines.
#[derive(Debug)]
pub(super) struct Process {
    name: NameKey,
    instance: u64,
    number: u32,
    slots: u16,
    prefetch: u16,
    labels: Labels,
    pub(super) line: Option<usize>,
    post: Option<Post>,
    /// What runs, and whether its slot was called busy at the last registration.
    pub(super) running: Vec<(Job, bool)>,
    /// What was sent ahead, and waits for a slot.
    pub(super) ahead: VecDeque<Job>,
    /// Results that are not acknowledged.
    pub(super) kept: Vec<Report>,
    /// Slots that became free before the registration was answered.
    owed: usize,
    hung_until: Instant,
    away_until: Instant,
}

impl Process {
    pub(super) const fn new(
        name: u64,
        instance: u64,
        (slots, prefetch): (u16, u16),
        labels: Labels,
    ) -> Self {
        Self {
            name: NameKey(name as u128),
            instance,
            number: 0,
            slots,
            prefetch,
            labels,
            line: None,
            post: None,
            running: Vec::new(),
            ahead: VecDeque::new(),
            kept: Vec::new(),
            owed: 0,
            hung_until: Instant(0),
            away_until: Instant(0),
        }
    }
}

impl World {
    /// Something that a worker process does next.
    pub(super) fn process_turn(&mut self, at: usize) -> bool {
        let now = self.watch.now;
        let process = &self.processes[at];
        if process.hung_until > now {
            return false;
        }
        let line = process.line;
        match line {
            None if process.away_until > now => false,
            None => {
                self.register(at);
                true
            }
            Some(_) if self.rng.chance(300) && self.begin_ahead(at) => true,
            Some(line) if self.rng.chance(500) => self.hear(at, line) || self.finish_some(at),
            Some(line) => self.finish_some(at) || self.hear(at, line) || self.begin_ahead(at),
        }
    }

    fn register(&mut self, at: usize) {
        let port = self.rng.place(self.ports.len());
        let index = self.worker_lines.len();
        let process = &mut self.processes[at];
        // What had not started was settled with the line before.
        process.ahead.clear();
        let mut line = WorkerLine::new(NOBODY);
        line.up.extend(
            process
                .kept
                .iter()
                .map(|report| FromWorker::HandIn(process.instance, *report)),
        );
        for (job, is_busy) in &mut process.running {
            *is_busy = true;
            line.up
                .push_back(FromWorker::StillRuns(process.instance, *job));
        }
        process.number += 1;
        process.owed = 0;
        process.line = Some(index);
        line.up.push_back(FromWorker::Register(Registration {
            name: process.name,
            instance: process.instance,
            number: process.number,
            slots: process.slots,
            prefetch: process.prefetch,
            busy: process.running.len() as u16,
            labels: process.labels,
            token: Token(index as u64),
        }));
        self.worker_lines.push(line);
        self.ports[port].staff.push(index);
    }

    fn hear(&mut self, at: usize, line: usize) -> bool {
        if self.worker_lines[line].clogged_until > self.watch.now {
            return false;
        }
        let Some(heard) = self.worker_lines[line].down.pop_front() else {
            return false;
        };
        let process = &mut self.processes[at];
        match heard {
            ToWorker::Deliver(job, is_ahead) => {
                if is_ahead {
                    process.ahead.push_back(job);
                } else {
                    process.running.push((job, false));
                }
            }
            ToWorker::Recall(job) => self.give_back(at, line, job),
            ToWorker::Ack(job) => process.kept.retain(|report| job_of(report) != job),
            ToWorker::Registered(post) => {
                process.post = Some(post);
                for _ in 0..std::mem::take(&mut process.owed) {
                    self.worker_lines[line].up.push_back(FromWorker::SlotFreed);
                }
            }
            ToWorker::Abort(job) => self.obey(at, job),
            ToWorker::Closed => {
                let pause = self.rng.between(1, 20);
                self.hang_up(at, pause);
            }
        }
        true
    }

    fn obey(&mut self, at: usize, job: Job) {
        if self.fires(Fault::DeafAbort) {
            return;
        }
        let running = &self.processes[at].running;
        // It is asked by its present post, also for what it was given at an earlier one.
        let is_meant = |other: &Job| (other.handle, other.attempt) == (job.handle, job.attempt);
        if let Some(place) = running.iter().position(|(other, _)| is_meant(other)) {
            self.finish(at, place, Verdict::Aborted);
        }
    }

    /// Starts what was sent ahead, as soon as there is a slot, and says so.
    fn begin_ahead(&mut self, at: usize) -> bool {
        let process = &mut self.processes[at];
        let (Some(line), Some(post)) = (process.line, process.post) else {
            return false;
        };
        if process.running.len() >= usize::from(process.slots) {
            return false;
        }
        let Some(job) = process.ahead.pop_front() else {
            return false;
        };
        debug_assert_eq!(job.post, post, "of another registration");
        process.running.push((job, false));
        self.started_ahead(job);
        if !self.breaks(Break::GiveBackStarted) {
            self.worker_lines[line]
                .up
                .push_back(FromWorker::Started(job));
        }
        true
    }

    /// Gives back what was sent ahead and has not started.
    fn give_back(&mut self, at: usize, line: usize, job: Job) {
        let process = &mut self.processes[at];
        let waits = process.ahead.iter().position(|other| *other == job);
        if let Some(place) = waits {
            process.ahead.remove(place);
        }
        let runs = process.running.iter().any(|(other, _)| *other == job);
        if waits.is_some() || (runs && self.breaks(Break::GiveBackStarted)) {
            self.worker_lines[line]
                .up
                .push_back(FromWorker::GivenBack(job));
        }
    }

    fn finish_some(&mut self, at: usize) -> bool {
        let running = self.processes[at].running.len();
        if running == 0 {
            return false;
        }
        let fails = self.fires(Fault::TaskFails);
        let verdict = if fails {
            Verdict::Failed
        } else {
            Verdict::Completed
        };
        let place = self.rng.place(running);
        self.finish(at, place, verdict);
        true
    }

    fn finish(&mut self, at: usize, place: usize, verdict: Verdict) {
        let process = &mut self.processes[at];
        let (job, is_busy) = process.running.swap_remove(place);
        let Job {
            handle,
            attempt,
            post,
        } = job;
        let report = Report {
            worker: post.worker,
            epoch: post.epoch,
            handle,
            attempt,
            verdict,
        };
        process.kept.push(report);
        let Some(index) = process.line else {
            return;
        };
        if process.post == Some(post) {
            self.send_result(index, report);
            return;
        }
        let line = &mut self.worker_lines[index];
        line.up
            .push_back(FromWorker::HandIn(process.instance, report));
        if !is_busy {
            return;
        }
        if process.post.is_some() {
            line.up.push_back(FromWorker::SlotFreed);
        } else {
            process.owed += 1;
        }
    }

    fn send_result(&mut self, index: usize, report: Report) {
        let twice = self.fires(Fault::DoubleReport);
        let wrong = self.fires(Fault::WrongReport).then(|| self.distort(report));
        let up = &mut self.worker_lines[index].up;
        up.extend(wrong.map(FromWorker::Result));
        up.push_back(FromWorker::Result(report));
        if twice {
            up.push_back(FromWorker::Result(report));
        }
    }

    /// The report of an attempt that never was.
    fn distort(&mut self, report: Report) -> Report {
        let Report {
            handle,
            attempt,
            epoch,
            ..
        } = report;
        match self.rng.below(3) {
            0 => Report {
                attempt: taskyard_core::Attempt(attempt.0.wrapping_add(1)),
                ..report
            },
            1 => Report {
                epoch: Epoch(epoch.0.wrapping_sub(1)),
                ..report
            },
            _ => {
                let generation = handle.generation().wrapping_add(1);
                let handle = taskyard_core::TaskHandle::new(handle.index(), generation);
                Report { handle, ..report }
            }
        }
    }

    // ---- what befalls them ----

    pub(super) fn hurt_worker(&mut self, fault: Fault) {
        let at = self.rng.place(self.processes.len());
        let pause = self.rng.between(0, 30);
        match fault {
            Fault::WorkerCrash => {
                self.hang_up(at, pause);
                let process = &mut self.processes[at];
                process.instance += 1000;
                process.number = 0;
                process.running.clear();
                process.ahead.clear();
                process.kept.clear();
            }
            Fault::WorkerCut => self.hang_up(at, pause),
            _ => self.processes[at].hung_until = self.watch.now.after_ms(pause * 2),
        }
    }

    /// Lets go of its line, and comes back after a pause.
    fn hang_up(&mut self, at: usize, pause_ms: u64) {
        let process = &mut self.processes[at];
        process.post = None;
        process.away_until = self.watch.now.after_ms(pause_ms);
        if let Some(index) = process.line.take() {
            let shows_at = self.loss_shows_at();
            self.worker_lines[index].cut(&mut self.rng, FromWorker::Gone, shows_at);
        }
    }

    /// Whether it has nothing to do and nothing to say.
    pub(super) fn is_worker_quiet(&self, at: usize) -> bool {
        // Results whose acknowledgement was lost are kept until the next registration.
        self.processes[at].running.is_empty() && self.processes[at].ahead.is_empty()
    }
}
