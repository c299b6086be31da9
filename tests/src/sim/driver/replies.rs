//! Replies: what the scheduler has to say to a port, as far as there is room for it.

use taskyard_core::Reply as Due;
use taskyard_core::{ClientId, Outcome, OutcomeReply, PortId, Refusal, TaskHandle, TaskId, Tried};

use super::Driver;
use super::rings::Reply;
use crate::sim::alloc::hot;
use crate::sim::breakage::Break;
use crate::sim::fact::{Fact, Job, Post};
use crate::sim::watch::Watch;

impl Driver {
    pub(super) fn reply(&mut self, watch: &mut Watch, limit: usize) -> usize {
        let Some(port) = self.scheduler.poll_due_port() else {
            return 0;
        };
        for count in 0..limit {
            if !self.ends[usize::from(port.0)].replies.has_room(1) {
                self.ends[usize::from(port.0)].deferred = true;
                return count;
            }
            let Some(reply) = hot(|| self.scheduler.poll_reply(watch.now, port)) else {
                return count + 1;
            };
            self.pass_on(watch, port, reply);
        }
        self.scheduler.defer_port(port);
        limit
    }

    fn pass_on(&mut self, watch: &mut Watch, port: PortId, reply: Due) {
        let reply = match reply {
            Due::Outcome(reply) => return self.outcome(watch, port, reply),
            Due::Abort {
                worker,
                epoch,
                handle,
                attempt,
            } => {
                let job = Job {
                    handle,
                    attempt,
                    post: Post { worker, epoch },
                };
                watch.see(&Fact::Abort(job));
                Reply::Abort(job)
            }
            Due::Recall {
                worker,
                epoch,
                handle,
                attempt,
            } => {
                let job = Job {
                    handle,
                    attempt,
                    post: Post { worker, epoch },
                };
                watch.see(&Fact::Recall(job));
                Reply::Recall(job)
            }
            Due::Evict { worker, epoch } => {
                watch.see(&Fact::Evict(Post { worker, epoch }));
                Reply::Evict(Post { worker, epoch })
            }
            Due::Notice(notice) => return watch.see(&Fact::Notice(notice)),
            Due::OutputMissed { .. } => return, // Nothing prints here.
            Due::Retire { worker, epoch, .. } => {
                watch.see(&Fact::Retire(Post { worker, epoch }));
                Reply::Retire(Post { worker, epoch })
            }
            Due::Admitted {
                token,
                worker,
                epoch,
            } => {
                return self.admit(watch, port, token, Post { worker, epoch });
            }
            Due::Pause {
                worker,
                epoch,
                paused,
            } => {
                let post = Post { worker, epoch };
                watch.see(&Fact::Pause(post, paused));
                Reply::Pause(post, paused)
            }
            Due::Swept { token, touched } => {
                watch.see(&Fact::Swept(token.0, touched));
                return;
            }
            Due::NotAdmitted { token, .. } => {
                watch.mark("registration_displaced");
                watch.names.retain(|(other, ..)| *other != token);
                Reply::NotRegistered(token)
            }
        };
        self.push(port, reply);
    }

    fn outcome(&mut self, watch: &mut Watch, port: PortId, mut reply: OutcomeReply) {
        let index = reply.handle.index();
        let load = if reply.has_payload && reply.keep {
            hot(|| self.tasks.share(index))
        } else {
            let stored = hot(|| self.tasks.take(index));
            stored.filter(|_| reply.has_payload)
        };
        if self.broken == Some(Break::LieAboutStart)
            && let Outcome::Cancelled { started } = &mut reply.outcome
        {
            *started = false;
        }
        let number = load.as_ref().map(|load| load.number);
        watch.see(&Fact::Outcome(reply, number));
        if self.broken == Some(Break::DoubleOutcome) && watch.break_now(64) {
            watch.see(&Fact::Outcome(reply, number));
        }
        self.push(port, Reply::Outcome(reply, load));
    }

    pub(super) fn push(&mut self, port: PortId, reply: Reply) {
        let is_pushed = hot(|| self.ends[usize::from(port.0)].replies.push(reply).is_ok());
        assert!(is_pushed, "I6: a reply without room");
    }
}

pub(super) fn refusal_reply(client: ClientId, task: TaskId, refusal: Refusal) -> OutcomeReply {
    OutcomeReply {
        client,
        task,
        handle: TaskHandle::from_bits(0),
        seq: 0,
        outcome: Outcome::Refused(refusal),
        worker: None,
        attempts: 0,
        part: false,
        has_payload: false,
        keep: false,
        tried: Tried::NOBODY,
    }
}
