//! The sleepers: many thieves that sleep on the pool.

use loom_tests::exec::{join, spawn};
use loom_tests::model;
use taskyard_dispatcher::{
    Consumer, Injector, Listener, Sleeper, Sleepers, Stealer, ThreadParker, doorbell, pool, ring,
};

/// A thief with one free slot.
struct Thief {
    stealer: Stealer<u32>,
    sleeper: Sleeper,
    parker: ThreadParker,
}

impl Thief {
    fn new(stealer: &Stealer<u32>, sleepers: &Sleepers) -> Self {
        let parker = ThreadParker::new();
        let sleeper = sleepers.join(parker.unparker()).expect("there is a place");
        Self {
            stealer: stealer.clone(),
            sleeper,
            parker,
        }
    }

    /// Sleeps until there is something in the pool, and takes it.
    fn take_one(&self) -> u32 {
        let mut was_woken = false;
        loop {
            if let Some(item) = self.stealer.steal() {
                if was_woken && !self.stealer.is_empty() {
                    self.sleeper.wake_one_more();
                }
                return item;
            }
            was_woken = self.sleep();
        }
    }

    /// Sleeps once, unless there is something in the pool; answers whether it was woken.
    fn sleep(&self) -> bool {
        self.sleeper.announce();
        if self.stealer.is_empty() {
            self.parker.park();
        }
        self.sleeper.retract()
    }
}

/// A duty cycle that injects one item.
fn inject(injector: &mut Injector<u32>, sleepers: &Sleepers, item: u32) {
    injector.push(item).unwrap();
    sleepers.wake(1);
}

/// One thief, one item: the thief gets it.
#[test]
fn sleeper_is_woken_for_an_item() {
    model("sleeper_is_woken_for_an_item", 28, || {
        let (mut injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let thief = Thief::new(&stealer, &sleepers);
        let stealing = spawn(move || thief.take_one());
        inject(&mut injector, &sleepers, 7);
        assert_eq!(join(stealing), 7);
    });
}

/// Two thieves, two items in two duty cycles: both items are taken, and nobody sleeps beside one.
#[test]
fn sleepers_take_both_of_two_items() {
    model("sleepers_take_both_of_two_items", 16_000, || {
        let (mut injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let thieves = [(); 2].map(|()| {
            let thief = Thief::new(&stealer, &sleepers);
            spawn(move || thief.take_one())
        });
        inject(&mut injector, &sleepers, 1);
        inject(&mut injector, &sleepers, 2);
        let mut taken = thieves.map(join);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

/// A thread that finds itself woken sees what it was woken for, even if another cause ended its
/// sleep before the waker came to its unpark: it must be able to hand the wake-up on.
#[test]
fn sleeper_that_was_woken_sees_the_item() {
    model("sleeper_that_was_woken_sees_the_item", 7, || {
        let (mut injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let thief = Thief::new(&stealer, &sleepers);
        thief.sleeper.announce();
        let waking_up = spawn(move || {
            if thief.sleeper.retract() {
                assert!(!thief.stealer.is_empty(), "woken for nothing");
            }
        });
        inject(&mut injector, &sleepers, 7);
        join(waking_up);
    });
}

/// A thread that leaves while a waker has chosen it hands the wake-up on to one that stays.
#[test]
fn sleeper_that_leaves_hands_its_wake_up_on() {
    model("sleeper_that_leaves_hands_its_wake_up_on", 330, || {
        let (mut injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let leaver = Thief::new(&stealer, &sleepers);
        leaver.sleeper.announce();
        let stayer = Thief::new(&stealer, &sleepers);
        let leaving = spawn(move || drop(leaver));
        let staying = spawn(move || stayer.take_one());
        inject(&mut injector, &sleepers, 7);
        assert_eq!(join(staying), 7);
        join(leaving);
    });
}

/// A thread that sleeps on its bells and on the pool at once.
struct Shard {
    thief: Thief,
    listener: Listener,
    mailbox: Consumer<u32>,
}

impl Shard {
    /// Sleeps until it has had something from both.
    fn take_both(&mut self) -> (u32, u32) {
        let (mut mailed, mut stolen) = (None, None);
        loop {
            if self.listener.next().is_some() {
                mailed = mailed.or_else(|| self.mailbox.pop());
            }
            stolen = stolen.or_else(|| self.thief.stealer.steal());
            if let (Some(mailed), Some(stolen)) = (mailed, stolen) {
                return (mailed, stolen);
            }
            // On both words first, and only then a look at what either stands for.
            if self.listener.announce() {
                let _was_woken = self.thief.sleep();
                self.listener.retract();
            }
        }
    }
}

/// A shard that sleeps on two words misses neither.
#[test]
fn sleeper_on_two_words_misses_neither() {
    model("sleeper_on_two_words_misses_neither", 85, || {
        let (mut injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let thief = Thief::new(&stealer, &sleepers);
        let (bell, listener) = doorbell(1, thief.parker.unparker());
        let (mut producer, mailbox) = ring(2);
        let mut shard = Shard {
            thief,
            listener,
            mailbox,
        };
        let sleeping = spawn(move || shard.take_both());
        producer.push(1).unwrap();
        bell.ring(0);
        inject(&mut injector, &sleepers, 2);
        assert_eq!(join(sleeping), (1, 2));
    });
}
