//! The end: who leaves, who closes, and who sleeps or stands still meanwhile.

use loom_tests::exec::{Arc, AtomicU64, Ordering, join, spawn, yield_now};
use loom_tests::{Census, Item, model};
use taskyard_dispatcher::{
    Injector, Sleeper, Sleepers, Stealer, ThreadParker, doorbell, pool, ring,
};

/// A port pushes a last event and is dropped: its ring first, then its bell, which rings once more.
/// The dispatcher, which may sleep, has every event and hears that there will be no other.
#[test]
fn port_that_goes_is_heard_of() {
    model("port_that_goes_is_heard_of", 70, || {
        let census = Census::default();
        let parker = ThreadParker::new();
        let (bell, mut listener) = doorbell(1, parker.unparker());
        let (mut producer, mut consumer) = ring::<Item>(2);
        let last = census.item(1);
        let dispatching = spawn(move || {
            let mut popped = 0;
            loop {
                while let Some(item) = consumer.pop() {
                    popped += item.number();
                }
                // After the drain, and before it may sleep: no bell will ring again.
                if consumer.is_closed() {
                    return popped;
                }
                if listener.next().is_none() && listener.announce() {
                    parker.park();
                    listener.retract();
                }
            }
        });
        producer.push(last).unwrap();
        drop(producer);
        bell.ring(0);
        assert_eq!(join(dispatching), 1);
        assert_eq!(census.alive(), 0);
    });
}

/// What a thief that may sleep takes until it hears of the close.
fn take_until_closed(stealer: &Stealer<u32>, sleeper: &Sleeper, parker: &ThreadParker) -> u32 {
    let mut taken = 0;
    let mut was_woken = false;
    loop {
        // The flag first: what comes before it is then there to be found.
        let is_last = stealer.is_closed();
        if stealer.steal().is_some() {
            taken += 1;
            if std::mem::take(&mut was_woken) && !stealer.is_empty() {
                sleeper.wake_one_more();
            }
            continue;
        }
        if is_last {
            return taken;
        }
        sleeper.announce();
        if stealer.is_empty() && !stealer.is_closed() {
            parker.park();
        }
        was_woken |= sleeper.retract();
    }
}

fn push_and_close(mut injector: Injector<u32>, sleepers: &Sleepers) {
    injector.push(1).unwrap();
    sleepers.wake(1);
    injector.close();
    assert!(injector.push(2).is_err(), "accepted after the close");
    sleepers.wake(usize::MAX);
}

/// A thief that sleeps on the pool hears of the close, and has had everything by then.
#[test]
fn close_wakes_a_thief_that_sleeps() {
    model("close_wakes_a_thief_that_sleeps", 1_100, || {
        let (injector, stealer) = pool(2);
        let sleepers = Sleepers::new();
        let parker = ThreadParker::new();
        let sleeper = sleepers.join(parker.unparker()).expect("there is a place");
        let stealing = spawn(move || take_until_closed(&stealer, &sleeper, &parker));
        push_and_close(injector, &sleepers);
        assert_eq!(join(stealing), 1);
    });
}

/// The injector closes and goes while a thief is frozen between winning a position and leaving the
/// slot. It waits for nobody; another thief has the rest; the frozen one still has its item.
#[test]
fn close_passes_a_frozen_thief_by() {
    const FROZEN: u64 = 1;
    const THAWED: u64 = 2;
    model("close_passes_a_frozen_thief_by", 270, || {
        let census = Census::default();
        let (mut injector, stealer) = pool(2);
        for number in [1, 2] {
            injector.push(census.item(number)).unwrap();
        }
        let stage = Arc::new(AtomicU64::new(0));
        let frozen = {
            let (stage, stealer) = (stage.clone(), stealer.clone());
            spawn(move || {
                let item = stealer.steal_after(|| {
                    stage.store(FROZEN, Ordering::Release);
                    while stage.load(Ordering::Acquire) != THAWED {
                        yield_now();
                    }
                });
                item.map(|item| item.number())
            })
        };
        while stage.load(Ordering::Acquire) != FROZEN {
            yield_now();
        }
        let other = spawn(move || {
            let mut taken = Vec::new();
            loop {
                let is_last = stealer.is_closed();
                match stealer.steal() {
                    Some(item) => taken.push(item.number()),
                    None if is_last => return taken,
                    None => yield_now(),
                }
            }
        });
        drop(injector);
        assert_eq!(
            join(other),
            [2],
            "the frozen one's is not there to be taken"
        );
        stage.store(THAWED, Ordering::Release);
        assert_eq!(join(frozen), Some(1));
        assert_eq!(census.alive(), 0);
    });
}
