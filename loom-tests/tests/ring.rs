//! The ring: one thread to one other.

use loom_tests::exec::{join, spawn, yield_now};
use loom_tests::{Census, Item, model};
use taskyard_dispatcher::{Consumer, Producer, ring, ring_at};

/// The third position of a ring that starts here has wrapped round to 0.
const BEFORE_WRAP: u64 = u64::MAX - 1;

fn push_patiently(producer: &mut Producer<Item>, mut item: Item) {
    while let Err(full) = producer.push(item) {
        item = full.0;
        yield_now();
    }
}

fn pop_patiently(consumer: &mut Consumer<Item>) -> Item {
    loop {
        if let Some(item) = consumer.pop() {
            return item;
        }
        yield_now();
    }
}

/// First in, first out, nothing lost, no slot in two hands: over the wrap of the positions, and
/// with the ring full and empty on the way.
#[test]
fn ring_keeps_order_over_the_wrap() {
    model("ring_keeps_order_over_the_wrap", 390, || {
        let census = Census::default();
        let (mut producer, mut consumer) = ring_at(2, BEFORE_WRAP);
        let items = [1, 2, 3].map(|number| census.item(number));
        let pushing = spawn(move || items.map(|item| push_patiently(&mut producer, item)));
        let popped = [(); 3].map(|()| pop_patiently(&mut consumer).number());
        assert_eq!(popped, [1, 2, 3]);
        join(pushing);
        assert_eq!(census.alive(), 0);
    });
}

/// The same in batches: what is published and freed at once is whole, over the wrap.
#[test]
fn ring_batches_keep_order_over_the_wrap() {
    model("ring_batches_keep_order_over_the_wrap", 10, || {
        let census = Census::default();
        let (mut producer, mut consumer) = ring_at(2, BEFORE_WRAP);
        let mut items = [1, 2, 3].map(|number| census.item(number)).into_iter();
        let pushing = spawn(move || {
            while items.len() > 0 {
                if producer.push_batch(&mut items) == 0 {
                    yield_now();
                }
            }
        });
        let mut popped = 0;
        while popped < 3 {
            let count = consumer.pop_batch(2, |item| {
                popped += 1;
                assert_eq!(item.number(), popped);
            });
            if count == 0 {
                yield_now();
            }
        }
        join(pushing);
        assert_eq!(census.alive(), 0);
    });
}

/// A consumer that hears that the producer is gone has had everything.
#[test]
fn ring_closes_after_its_last_item() {
    model("ring_closes_after_its_last_item", 60, || {
        let census = Census::default();
        let (mut producer, mut consumer) = ring(2);
        let items = [1, 2].map(|number| census.item(number));
        let pushing = spawn(move || {
            for item in items {
                producer.push(item).unwrap();
            }
        });
        let mut popped = 0;
        while !consumer.is_closed() {
            match consumer.pop() {
                Some(item) => {
                    popped += 1;
                    assert_eq!(item.number(), popped);
                }
                None => yield_now(),
            }
        }
        assert_eq!(popped, 2, "closed with items left");
        join(pushing);
        assert_eq!(census.alive(), 0);
    });
}

/// The producer leaves while the consumer pops, and leaves items behind.
#[test]
fn ring_drops_each_item_once_when_the_producer_goes() {
    model(
        "ring_drops_each_item_once_when_the_producer_goes",
        9,
        || {
            let census = Census::default();
            let (mut producer, mut consumer) = ring(2);
            producer.push(census.item(1)).unwrap();
            let item = census.item(2);
            let leaving = spawn(move || {
                producer.push(item).unwrap();
                drop(producer);
            });
            let first = consumer.pop().map(|item| item.number());
            assert_eq!(first, Some(1));
            drop(consumer);
            join(leaving);
            assert_eq!(census.alive(), 0);
        },
    );
}

/// The consumer leaves while the producer pushes: what it did not pop goes with the ring.
#[test]
fn ring_drops_each_item_once_when_the_consumer_goes() {
    model(
        "ring_drops_each_item_once_when_the_consumer_goes",
        38,
        || {
            let census = Census::default();
            let (mut producer, mut consumer) = ring(2);
            let leaving = spawn(move || {
                drop(consumer.pop());
                drop(consumer);
            });
            for number in 1..=3 {
                // The third finds room only if the first was popped.
                drop(producer.push(census.item(number)));
            }
            assert!(census.alive() <= 3);
            drop(producer);
            join(leaving);
            assert_eq!(census.alive(), 0);
        },
    );
}

/// A side goes on by an old copy of the other's position only where that is safe: a push into a
/// ring that was full succeeds only after a pop, a pop from one that was empty only after a push.
#[test]
fn ring_is_not_fooled_by_a_stale_position() {
    model("ring_is_not_fooled_by_a_stale_position", 13, || {
        let census = Census::default();
        let (mut producer, mut consumer) = ring_at(2, BEFORE_WRAP);
        for number in [1, 2] {
            producer.push(census.item(number)).unwrap();
        }
        let popping = spawn(move || {
            let popped = [consumer.pop(), consumer.pop(), consumer.pop()];
            (consumer, popped.map(|item| item.map(|item| item.number())))
        });
        let is_accepted = producer.push(census.item(3)).is_ok();
        let (mut consumer, popped) = join(popping);

        assert_eq!(popped[..2], [Some(1), Some(2)]);
        let third = popped[2].or_else(|| consumer.pop().map(|item| item.number()));
        assert_eq!(third, is_accepted.then_some(3));
        assert!(producer.has_room(2), "the last look is a fresh one");
        assert_eq!(census.alive(), 0);
    });
}
