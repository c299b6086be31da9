//! I6: mailboxes, windows, slots and the pool hold no more than they may, tombstones counted.

use taskyard_core::{Revoked, Source};

use crate::sim::fact::{Fact, Job, Post, job_of};
use crate::sim::options::{Options, Size};

/// What one incarnation has.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    slots: u32,
    places: u32,
    window: u32,
    mail: u32,
    /// Of that: whose claim was revoked.
    dead: u32,
    running: u32,
    running_directed: u32,
}

#[derive(Debug)]
pub(crate) struct Credit {
    mailbox: u32,
    queue_ahead: u32,
    pool: u32,
    pooled: u32,
    /// By epoch.
    accounts: Vec<Account>,
    /// Claimed from a mailbox, not yet vacated.
    directed: Vec<Job>,
    /// Sent ahead, not started.
    ahead: Vec<Job>,
    /// Which mailbox each slot's envelope lies in, while it does.
    lies_in: Vec<Option<Post>>,
    pub(crate) filled_by_tombstones: u64,
    pub(crate) lost_queued: u64,
}

impl Credit {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            mailbox: options.size(Size::Mailbox) as u32,
            queue_ahead: options.size(Size::QueueAhead) as u32,
            pool: options.size(Size::Pool) as u32,
            pooled: 0,
            accounts: Vec::new(),
            directed: Vec::new(),
            ahead: Vec::new(),
            lies_in: vec![None; options.size(Size::Tasks) as usize],
            filled_by_tombstones: 0,
            lost_queued: 0,
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Admitted { post, slots, .. } => {
                let (slots, prefetch) = (u32::from(slots.slots), u32::from(slots.prefetch));
                let places = slots + prefetch;
                let window = (slots + self.queue_ahead.max(prefetch)).clamp(1, self.mailbox);
                *self.account(post) = Account {
                    slots,
                    places,
                    window,
                    ..Account::default()
                };
            }
            Fact::Offered(post, envelope) => {
                self.lies_in[envelope.handle.index() as usize] = Some(post);
                self.account(post).mail += 1;
                self.check(post);
            }
            Fact::Injected(_) => {
                self.pooled += 1;
                assert!(self.pooled <= self.pool, "I6: {} in the pool", self.pooled);
            }
            Fact::Popped {
                source,
                envelope,
                post,
                claimed,
                ..
            } => {
                self.popped(source, envelope.handle.index(), post, claimed);
            }
            Fact::Prefetched(job) | Fact::GivenBack(job) | Fact::Started(job) => {
                self.sent(job, fact);
            }
            Fact::Returned(job) => self.directed.retain(|other| *other != job),
            Fact::Vacated(job) => {
                self.account(job.post).running -= 1;
                self.consumed(job);
            }
            // By another line, before the one that it was sent on is known to be gone.
            Fact::HandedIn(report, _) => self.consumed(job_of(&report)),
            Fact::Revoked(handle, _, Revoked::Won) => {
                if let Some(post) = self.lies_in[handle.index() as usize].take() {
                    let account = self.account(post);
                    account.dead += 1;
                    let filled = account.dead == account.window;
                    self.filled_by_tombstones += u64::from(filled);
                }
            }
            Fact::WorkerDown(post) => {
                let account = self.account(post);
                let queued = account.mail > account.dead;
                self.lost_queued += u64::from(queued);
                self.directed.retain(|job| job.post != post);
            }
            _ => {}
        }
    }

    /// An attempt is with its worker: it has a slot, or is ahead of one, or is given back.
    fn sent(&mut self, job: Job, fact: &Fact) {
        match fact {
            Fact::Prefetched(_) => {
                self.ahead.push(job);
                let directed = self.directed.contains(&job);
                let account = self.account(job.post);
                account.running += 1;
                account.running_directed += u32::from(directed);
                let (out, places) = (account.running, account.places);
                assert!(
                    out <= places,
                    "I6: {job:?} is sent ahead as {out} of {places}"
                );
            }
            Fact::GivenBack(_) => {
                self.ahead.retain(|other| *other != job);
                self.account(job.post).running -= 1;
                self.consumed(job);
            }
            Fact::Started(_) if self.ahead.contains(&job) => {
                self.ahead.retain(|other| *other != job);
            }
            _ => {
                let directed = self.directed.contains(&job);
                let account = self.account(job.post);
                account.running += 1;
                account.running_directed += u32::from(directed);
                let (running, slots) = (account.running, account.slots);
                assert!(running <= slots, "I6: {job:?} runs as {running} of {slots}");
            }
        }
    }

    /// The attempt has ended, and its envelope no longer counts.
    fn consumed(&mut self, job: Job) {
        let before = self.directed.len();
        self.directed.retain(|other| *other != job);
        let directed = before > self.directed.len();
        self.account(job.post).running_directed -= u32::from(directed);
    }

    fn popped(&mut self, source: Source, index: u32, post: Post, claimed: bool) {
        match source {
            Source::Pool => self.pooled -= 1,
            Source::Mailbox { .. } => {
                let account = self.account(post);
                account.mail -= 1;
                account.dead -= u32::from(!claimed && account.dead > 0);
            }
        }
        if claimed && source != Source::Pool {
            self.lies_in[index as usize] = None;
        }
    }

    /// Takes note that this attempt came out of a mailbox.
    pub(crate) fn claimed_from_mailbox(&mut self, job: Job) {
        self.directed.push(job);
    }

    fn check(&mut self, post: Post) {
        let mailbox = self.mailbox;
        let account = *self.account(post);
        assert!(
            account.mail <= mailbox,
            "I6: {post:?}: {account:?} in a mailbox of {mailbox}"
        );
        let out = account.mail + account.running_directed;
        assert!(
            out <= account.window,
            "I6: {post:?}: {account:?} is beyond its credit"
        );
    }

    fn account(&mut self, post: Post) -> &mut Account {
        let epoch = post.epoch.0 as usize;
        if self.accounts.len() <= epoch {
            self.accounts.resize(epoch + 1, Account::default());
        }
        &mut self.accounts[epoch]
    }
}
