//! What the tests have in common: a payload that is counted, sleepers that note calls, random
//! numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use taskyard_core::{
    ClientHello, ClientId, Config, Epoch, Instant, Labels, NameKey, OutcomeReply, Registration,
    Report, Submit, Token, Verdict, WorkerId,
};
use taskyard_dispatcher::{Delivery, Dispatcher, Event, Payload, Port, Reply, Unpark};

/// A payload that knows how many of its kind live.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) number: u64,
    living: Arc<AtomicI64>,
}

/// Makes payloads, and counts those that live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mint(Arc<AtomicI64>);

impl Mint {
    pub(crate) fn make(&self, number: u64) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted {
            number,
            living: Arc::clone(&self.0),
        }
    }

    pub(crate) fn living(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Payload for Counted {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, _: usize) -> Option<&[u8]> {
        None
    }

    fn share(&self) -> Self {
        Mint(Arc::clone(&self.living)).make(self.number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes that it was called.
#[derive(Debug, Default)]
pub(crate) struct Call(AtomicBool);

impl Call {
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Unpark for Call {
    fn unpark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A small generator whose stream never changes: SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A dispatcher and the time, for one thread.
pub(crate) struct Yard {
    pub(crate) dispatcher: Dispatcher<Counted>,
    pub(crate) call: Arc<Call>,
    pub(crate) now: Instant,
    pub(crate) mint: Mint,
}

impl Yard {
    pub(crate) fn new(config: Config, ring_capacity: usize) -> Self {
        let call = Arc::<Call>::default();
        let dispatcher = Dispatcher::new(config, call.clone()).expect("a configuration");
        let dispatcher = dispatcher.with_ring_capacity(ring_capacity);
        Self {
            dispatcher,
            call,
            now: Instant(0),
            mint: Mint::default(),
        }
    }

    pub(crate) fn port(&mut self) -> Port<Counted> {
        self.dispatcher
            .attach(Arc::<Call>::default())
            .expect("a port is free")
    }

    /// Runs until a duty cycle finds nothing to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.dispatcher.run_once(self.now) == 0 {
                return;
            }
        }
        panic!("the dispatcher never comes to rest");
    }

    pub(crate) fn client(&mut self, port: &mut Port<Counted>, key: u128) -> ClientId {
        send(port, Event::ClientUp(hello(key, 1, false)));
        self.settle();
        match port.poll_reply() {
            Some(Reply::Welcome { welcome, .. }) => welcome.client,
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub(crate) fn worker(
        &mut self,
        port: &mut Port<Counted>,
        name: u128,
        slots: u16,
    ) -> (WorkerId, Epoch) {
        send(port, Event::WorkerUp(registration(name, 1, slots)));
        self.settle();
        match port.poll_reply() {
            Some(Reply::Registered { worker, epoch, .. }) => (worker, epoch),
            other => panic!("not registered: {other:?}"),
        }
    }

    pub(crate) fn submit(&self, port: &mut Port<Counted>, client: ClientId, submit: Submit) {
        let payload = self.mint.make(submit.task.0);
        send(
            port,
            Event::Submit {
                client,
                submit,
                payload,
            },
        );
    }
}

pub(crate) fn send(port: &mut Port<Counted>, event: Event<Counted>) {
    assert!(port.has_room(1), "a test overfills its ring");
    port.send(event);
    port.flush();
}

/// Its token is the key and the session.
pub(crate) const fn hello(key: u128, session: u32, keep_outcomes: bool) -> ClientHello {
    let token = Token(((key as u64) << 32) | session as u64);
    ClientHello {
        key,
        session,
        keep_outcomes,
        token,
    }
}

pub(crate) const fn registration(name: u128, number: u32, slots: u16) -> Registration {
    let token = Token(((name as u64) << 32) | number as u64);
    Registration {
        name: NameKey(name),
        instance: 1,
        number,
        slots,
        prefetch: 0,
        busy: 0,
        labels: Labels::NONE,
        token,
    }
}

pub(crate) const fn report(delivery: &Delivery<Counted>, verdict: Verdict) -> Report {
    let Delivery {
        worker,
        epoch,
        handle,
        attempt,
        ..
    } = *delivery;
    Report {
        worker,
        epoch,
        handle,
        attempt,
        verdict,
    }
}

/// The outcomes that wait in a port.
pub(crate) fn outcomes(port: &mut Port<Counted>) -> Vec<OutcomeReply> {
    let replies = std::iter::from_fn(|| port.poll_reply());
    let outcome = |reply| match reply {
        Reply::Outcome { reply, .. } => Some(reply),
        _ => None,
    };
    replies.filter_map(outcome).collect()
}

/// Small capacities, in which everything fills up.
pub(crate) const SMALL: Config = Config {
    slots_max: 1024,
    prefetch_max: 0,
    tasks: 8,
    clients: 4,
    workers: 4,
    labels: 4,
    ports: 4,
    mailbox: 2,
    pool: 2,
    quota: 8,
    payload_bytes: 0,
    keep_outcomes_ms: 1_000,
    abort_grace_ms: 50,
    rejoin_grace_ms: 0,
    stall_grace_ms: 20,
    restart_grace_ms: 20,
    queue_ahead: 1,
    work_per_poll: 4,
    result_bytes: 0,
    quota_bytes: 0,
    outcomes_unread: 1024,
    outcome_bytes_unread: 1 << 20,
};
