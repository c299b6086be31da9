//! The doorbell: which ring has something, and the sleep of its one reader.

use loom_tests::exec::{Arc, AtomicBool, Ordering, join, spawn};
use loom_tests::model;
use taskyard_dispatcher::{
    Bell, Consumer, Listener, Producer, RoomFlag, ThreadParker, doorbell, ring,
};

/// Two rings with these numbers, and their bells.
struct Rings {
    numbers: [u32; 2],
    bell: Bell,
    listener: Listener,
    producers: [Producer<u32>; 2],
    consumers: [Consumer<u32>; 2],
}

impl Rings {
    fn new(numbers: [u32; 2], parker: &ThreadParker) -> Self {
        let (bell, listener) = doorbell(65, parker.unparker());
        let [(first_in, first_out), (second_in, second_out)] = [ring(2), ring(2)];
        let (producers, consumers) = ([first_in, second_in], [first_out, second_out]);
        Self {
            numbers,
            bell,
            listener,
            producers,
            consumers,
        }
    }
}

fn push_and_ring(producer: &mut Producer<u32>, bell: &Bell, number: u32) {
    producer.push(number).unwrap();
    bell.ring(number);
}

/// Answers all bells there are, and counts the items found.
fn answer(rings: (&[u32; 2], &mut [Consumer<u32>; 2]), listener: &mut Listener) -> usize {
    let (numbers, consumers) = rings;
    let mut found = 0;
    while let Some(index) = listener.next() {
        let place = numbers
            .iter()
            .position(|&number| number == index)
            .expect("a bell of ours");
        while let Some(item) = consumers[place].pop() {
            assert_eq!(item, index);
            found += 1;
        }
    }
    found
}

fn nothing_is_left_behind(numbers: [u32; 2]) {
    let parker = ThreadParker::new();
    let Rings {
        numbers,
        bell,
        mut listener,
        mut producers,
        mut consumers,
    } = Rings::new(numbers, &parker);
    let writing = spawn(move || {
        for (producer, number) in producers.iter_mut().zip(numbers) {
            push_and_ring(producer, &bell, number);
        }
        producers
    });
    let early = answer((&numbers, &mut consumers), &mut listener);
    drop(join(writing));
    let late = answer((&numbers, &mut consumers), &mut listener);
    assert_eq!(early + late, 2, "an item is left in a ring without a bell");
}

/// A bell that is answered leads to its item, also if it is found by the summary's bit of another.
#[test]
fn bell_of_one_word_leaves_nothing_behind() {
    model("bell_of_one_word_leaves_nothing_behind", 10, || {
        nothing_is_left_behind([0, 1]);
    });
}

/// The same over two words, each with a bit of its own in the summary.
#[test]
fn bell_of_two_words_leaves_nothing_behind() {
    model("bell_of_two_words_leaves_nothing_behind", 8, || {
        nothing_is_left_behind([0, 64]);
    });
}

/// Two writers at one word.
#[test]
fn bell_of_two_writers_leaves_nothing_behind() {
    model("bell_of_two_writers_leaves_nothing_behind", 75, || {
        let parker = ThreadParker::new();
        let Rings {
            numbers,
            bell,
            mut listener,
            producers,
            mut consumers,
        } = Rings::new([0, 1], &parker);
        let [first, second] = producers;
        let writing = [(first, 0), (second, 1)].map(|(mut producer, number)| {
            let bell = bell.clone();
            spawn(move || push_and_ring(&mut producer, &bell, number))
        });
        let early = answer((&numbers, &mut consumers), &mut listener);
        writing.into_iter().for_each(join);
        let late = answer((&numbers, &mut consumers), &mut listener);
        assert_eq!(early + late, 2, "an item is left in a ring without a bell");
    });
}

/// Reads until both items are there, and sleeps whenever there is no bell.
fn read_both(
    rings: (&[u32; 2], &mut [Consumer<u32>; 2]),
    listener: &mut Listener,
    at: &ThreadParker,
) {
    let (numbers, consumers) = rings;
    let mut found = 0;
    while found < 2 {
        found += answer((numbers, consumers), listener);
        if found < 2 && listener.announce() {
            at.park();
            listener.retract();
        }
    }
}

/// A reader that sleeps whenever there is no bell gets everything: no wake-up is lost.
#[test]
fn bell_wakes_a_reader_that_sleeps() {
    model("bell_wakes_a_reader_that_sleeps", 24, || {
        let parker = ThreadParker::new();
        let Rings {
            numbers,
            bell,
            mut listener,
            mut producers,
            mut consumers,
        } = Rings::new([0, 64], &parker);
        let reading = spawn(move || {
            read_both((&numbers, &mut consumers), &mut listener, &parker);
        });
        for (producer, number) in producers.iter_mut().zip(numbers) {
            push_and_ring(producer, &bell, number);
        }
        join(reading);
    });
}

/// Of two writers that find the reader asleep one makes the call, and it is enough for both.
#[test]
fn bell_of_two_writers_wakes_a_reader_that_sleeps() {
    model(
        "bell_of_two_writers_wakes_a_reader_that_sleeps",
        195,
        || {
            let parker = ThreadParker::new();
            let Rings {
                numbers,
                bell,
                mut listener,
                producers,
                mut consumers,
            } = Rings::new([0, 64], &parker);
            let [mut first, mut second] = producers;
            let reading = spawn(move || {
                read_both((&numbers, &mut consumers), &mut listener, &parker);
            });
            let writing = {
                let bell = bell.clone();
                spawn(move || push_and_ring(&mut first, &bell, 0))
            };
            push_and_ring(&mut second, &bell, 64);
            join(writing);
            join(reading);
        },
    );
}

/// A flag that is raised before [`Bell::wake`] is seen by a reader that is about to sleep.
#[test]
fn bell_wakes_for_a_stop_flag() {
    model("bell_wakes_for_a_stop_flag", 13, || {
        let parker = ThreadParker::new();
        let (bell, mut listener) = doorbell(1, parker.unparker());
        let stop = Arc::new(AtomicBool::new(false));
        let reading = {
            let stop = stop.clone();
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if listener.announce() {
                        if !stop.load(Ordering::Relaxed) {
                            parker.park();
                        }
                        listener.retract();
                    }
                }
            })
        };
        stop.store(true, Ordering::Relaxed);
        bell.wake();
        join(reading);
    });
}

/// What was done before an unpark is seen after the park, also by a parker that finds itself
/// notified and does not sleep at all.
#[test]
fn parker_sees_what_came_before_its_unpark() {
    model("parker_sees_what_came_before_its_unpark", 3, || {
        let parker = ThreadParker::new();
        let unparker = parker.unparker();
        let done = Arc::new(AtomicBool::new(false));
        let sleeping = {
            let done = done.clone();
            spawn(move || {
                parker.park();
                assert!(
                    done.load(Ordering::Relaxed),
                    "woken before the work was seen"
                );
            })
        };
        done.store(true, Ordering::Relaxed);
        unparker.unpark();
        join(sleeping);
    });
}

/// A producer that sleeps for want of room is woken when there is some.
#[test]
fn room_wakes_a_producer_that_waits() {
    model("room_wakes_a_producer_that_waits", 12, || {
        let parker = ThreadParker::new();
        let unparker = parker.unparker();
        let (mut producer, mut consumer) = ring(2);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        let flag = Arc::new(RoomFlag::default());
        let pushing = {
            let flag = flag.clone();
            spawn(move || {
                while !producer.has_room(1) {
                    flag.want();
                    if !producer.has_room(1) {
                        parker.park();
                    }
                }
                producer.push(3).unwrap();
            })
        };
        assert_eq!(consumer.pop(), Some(1));
        if flag.answer() {
            unparker.unpark();
        }
        join(pushing);
        assert_eq!([consumer.pop(), consumer.pop()], [Some(2), Some(3)]);
    });
}
