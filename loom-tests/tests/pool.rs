//! The pool: the dispatcher to many thieves.

use loom_tests::exec::{Arc, AtomicU64, Ordering, join, spawn, yield_now};
use loom_tests::{Census, Item, model};
use taskyard_dispatcher::{Stealer, pool, pool_at};

fn number(item: Option<Item>) -> Option<u32> {
    item.map(|item| item.number())
}

/// Each item goes to one thief, nothing is lost, and what one thief takes is in push order: over
/// the wrap of the positions, with a slot used twice.
#[test]
fn pool_gives_each_item_to_one_thief() {
    model("pool_gives_each_item_to_one_thief", 1_200, || {
        let census = Census::default();
        let (mut injector, stealer) = pool_at(2, u64::MAX - 1);
        injector.push(census.item(1)).unwrap();
        let thieves = [(); 2].map(|()| {
            let stealer = stealer.clone();
            spawn(move || [number(stealer.steal()), number(stealer.steal())])
        });
        let mut pushed = vec![1];
        for number in [2, 3] {
            if injector.has_room() {
                injector
                    .push(census.item(number))
                    .expect("room once seen stays");
                pushed.push(number);
            }
        }
        let mut taken = Vec::new();
        for thief in thieves {
            let hers: Vec<_> = join(thief).into_iter().flatten().collect();
            assert!(hers.is_sorted(), "{hers:?} is not in push order");
            taken.extend(hers);
        }
        taken.extend(std::iter::from_fn(|| number(stealer.steal())));
        taken.sort_unstable();
        assert_eq!(taken, pushed);
        assert_eq!(census.alive(), 0);
    });
}

/// A thief frozen between winning a position and leaving the slot keeps that slot, and holds up
/// nobody: the injector hears at once that there is no room, and another thief goes past.
#[test]
fn pool_passes_a_frozen_thief_by() {
    model("pool_passes_a_frozen_thief_by", 55, || {
        const FROZEN: u64 = 1;
        const THAWED: u64 = 2;
        let census = Census::default();
        let (mut injector, stealer) = pool(2);
        for number in [1, 2] {
            injector.push(census.item(number)).unwrap();
        }
        let stage = Arc::new(AtomicU64::new(0));
        let frozen = {
            let (stage, stealer) = (stage.clone(), stealer.clone());
            spawn(move || {
                number(stealer.steal_after(|| {
                    stage.store(FROZEN, Ordering::Release);
                    while stage.load(Ordering::Acquire) != THAWED {
                        yield_now();
                    }
                }))
            })
        };
        while stage.load(Ordering::Acquire) != FROZEN {
            yield_now();
        }
        let other = {
            let stealer = stealer.clone();
            spawn(move || number(stealer.steal()))
        };
        assert!(!injector.has_room(), "the frozen thief still has the slot");
        assert_eq!(injector.push(census.item(3)).unwrap_err().0.number(), 3);
        assert_eq!(join(other), Some(2), "the other thief goes on");
        assert!(
            !injector.has_room(),
            "the slot is next in turn, and not free"
        );

        stage.store(THAWED, Ordering::Release);
        assert_eq!(join(frozen), Some(1));
        injector.push(census.item(3)).expect("the slot is free now");
        assert_eq!(number(stealer.steal()), Some(3));
        assert_eq!(census.alive(), 0);
    });
}

/// The pool is dropped with items in it, while a thief is at work.
#[test]
fn pool_drops_each_item_once() {
    model("pool_drops_each_item_once", 4, || {
        let census = Census::default();
        let (mut injector, stealer) = pool(2);
        injector.push(census.item(1)).unwrap();
        let thief = spawn(move || drop(stealer.steal()));
        injector.push(census.item(2)).unwrap();
        drop(injector);
        join(thief);
        assert_eq!(census.alive(), 0);
    });
}

fn take_until_closed(stealer: &Stealer<Item>) -> Vec<u32> {
    let mut taken = Vec::new();
    loop {
        // The flag first: what comes before it is then there to be found.
        let is_last = stealer.is_closed();
        match number(stealer.steal()) {
            Some(number) => taken.push(number),
            None if is_last => return taken,
            None => yield_now(),
        }
    }
}

/// Everything that was accepted before the close is taken, and nothing is accepted after it.
#[test]
fn pool_closes_after_its_last_item() {
    model("pool_closes_after_its_last_item", 550, || {
        let census = Census::default();
        let (mut injector, stealer) = pool(2);
        let items = [1, 2, 3].map(|number| census.item(number));
        let injecting = spawn(move || {
            let [first, second, late] = items;
            injector.push(first).unwrap();
            injector.push(second).unwrap();
            injector.close();
            let refused = injector.push(late).unwrap_err().0;
            assert_eq!(refused.number(), 3, "it is handed back");
        });
        let patient = {
            let stealer = stealer.clone();
            spawn(move || take_until_closed(&stealer))
        };
        let mut taken: Vec<_> = number(stealer.steal()).into_iter().collect();
        taken.extend(join(patient));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2], "closed with an item left, or taken twice");
        join(injecting);
        assert_eq!(census.alive(), 0);
    });
}
