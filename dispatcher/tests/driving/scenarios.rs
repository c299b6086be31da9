//! What can go wrong around a port, one thing at a time.

use std::sync::Arc;

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_dispatcher::{Error, Event, Reply};

use crate::support::{Call, SMALL, Yard, hello, outcomes, registration, report, send};

const SOME: Config = Config {
    tasks: 64,
    quota: 64,
    ports: 64,
    ..SMALL
};

/// Nobody reads the replies of a dropped port, so it never makes room in a full ring.
#[test]
fn a_port_dropped_with_both_rings_full_is_gone_all_the_same() {
    let mut yard = Yard::new(SOME, 4);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    for n in 0..8 {
        // Each is refused: the second four find no room for the refusal.
        let nowhere = Submit::new(TaskId(n), Target::Worker(WorkerId(3)));
        yard.submit(&mut port, client, nowhere);
        if n == 3 {
            yard.settle();
        }
    }
    yard.settle();
    assert!(
        !port.has_room(1),
        "the events wait for room for their replies"
    );
    drop(port);
    yard.settle();
    assert_eq!(
        yard.mint.living(),
        0,
        "the rings and what was in them are freed"
    );
    let mut next = yard.port();
    assert_eq!(next.id().0, 0, "the place is free again");
    yard.client(&mut next, 1);
}

#[test]
fn ports_come_and_go_for_ever() {
    let mut yard = Yard::new(SMALL, 8);
    for round in 0..100 {
        let mut port = yard.port();
        yard.client(&mut port, round);
        yard.worker(&mut port, round, 1);
        drop(port);
        yard.settle();
    }
    let ports: Vec<_> = (0..SMALL.ports).map(|_| yard.port()).collect();
    let more = yard.dispatcher.attach(Arc::<Call>::default());
    assert!(matches!(more, Err(Error::PortsFull { .. })));
    drop(ports);
}

/// Dropped at each point between the loss of a worker and the way back of its mailbox.
#[test]
fn a_mailbox_that_is_never_handed_back_costs_no_place() {
    for point in 0..4 {
        let mut yard = Yard::new(SMALL, 8);
        for round in 0..(2 * SMALL.workers) {
            let mut port = yard.port();
            let (worker, epoch) = yard.worker(&mut port, u128::from(round), 1);
            port.worker_down(worker, epoch, taskyard_core::Loss::Closed);
            if point > 0 {
                port.flush();
                yard.settle();
            }
            if point > 1 {
                let retire = port.poll_reply();
                assert!(matches!(retire, Some(Reply::Retire { .. })), "{retire:?}");
                assert!(port.poll_reply().is_none());
            }
            if point > 2 {
                port.flush();
            }
            drop(port);
            yard.settle();
            assert_eq!(yard.dispatcher.workers_up(), 0);
        }
    }
}

#[test]
fn a_registration_that_waits_for_a_name_may_lose_its_port() {
    let mut yard = Yard::new(SMALL, 8);
    let mut old = yard.port();
    let (worker, epoch) = yard.worker(&mut old, 7, 1);
    let mut new = yard.port();
    send(&mut new, Event::WorkerUp(registration(7, 2, 1)));
    yard.settle();
    let id = new.id();
    drop(new);
    yard.settle();
    let other = yard.port();
    assert_ne!(
        other.id(),
        id,
        "somebody will still be told there that he is admitted"
    );
    assert!(matches!(old.poll_reply(), Some(Reply::Evict { .. })));
    old.worker_down(worker, epoch, taskyard_core::Loss::Closed);
    old.flush();
    yard.settle();
    assert_eq!(
        yard.dispatcher.workers_up(),
        0,
        "admitted, and down with its port"
    );
    let (mut third, _) = (yard.port(), drop(other));
    assert_eq!(third.id(), id);
    yard.worker(&mut third, 7, 1);
}

#[test]
fn a_mailbox_is_not_taken_back_unasked() {
    let mut yard = Yard::new(SMALL, 8);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    let (worker, epoch) = yard.worker(&mut port, 1, 1);
    let (_, stray) = taskyard_dispatcher::ring(2);
    send(
        &mut port,
        Event::Drained {
            worker,
            epoch,
            mailbox: stray,
        },
    );
    yard.settle();
    yard.submit(
        &mut port,
        client,
        Submit::new(TaskId(1), Target::Worker(worker)),
    );
    yard.settle();
    let delivery = port
        .poll_delivery()
        .expect("the mailbox is the one that it was");
    assert!(port.reported(report(&delivery, Verdict::Completed), None));
    port.worker_down(worker, epoch, taskyard_core::Loss::Closed);
    for _ in 0..3 {
        port.flush();
        yard.settle();
        while port.poll_reply().is_some() {}
    }
    let next: Vec<_> = (2..6)
        .map(|name| yard.worker(&mut port, name, 1).0)
        .collect();
    assert!(
        next.contains(&worker),
        "handed back, and its place given out again"
    );
    yard.submit(
        &mut port,
        client,
        Submit::new(TaskId(2), Target::Worker(worker)),
    );
    yard.settle();
    assert!(port.poll_delivery().is_some());
}

/// A client has moved on; what the old port still holds of it is of another session.
#[test]
fn what_a_client_left_in_its_last_port_does_not_count() {
    let mut yard = Yard::new(SMALL, 8);
    let (mut old, mut new) = (yard.port(), yard.port());
    send(&mut old, Event::ClientUp(hello(1, 1, true)));
    yard.settle();
    let Some(Reply::Welcome { welcome, .. }) = old.poll_reply() else {
        panic!("no welcome")
    };
    let client = welcome.client;
    yard.submit(&mut old, client, Submit::new(TaskId(1), Target::All));
    yard.settle();
    assert_eq!(outcomes(&mut old).len(), 1);
    send(&mut new, Event::ClientUp(hello(1, 2, true)));
    yard.settle();
    send(&mut old, Event::Ack { client, seq: 1 });
    yard.submit(&mut old, client, Submit::new(TaskId(2), Target::Any));
    yard.settle();
    assert_eq!(
        yard.dispatcher.tasks(),
        1,
        "not acknowledged, and nothing new accepted"
    );
    send(&mut old, Event::ClientDown(client));
    yard.settle();
    send(&mut new, Event::Ack { client, seq: 1 });
    yard.settle();
    assert_eq!(yard.dispatcher.tasks(), 0, "still up, in its new port");
}

/// The room that was asked for stays, whatever departures wait for room too.
#[test]
fn a_loss_takes_no_room_from_who_asked_for_it() {
    let mut yard = Yard::new(SMALL, 4);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    let workers: Vec<_> = (0..4).map(|name| yard.worker(&mut port, name, 1)).collect();
    assert!(port.has_room(4));
    for (worker, epoch) in workers {
        port.worker_down(worker, epoch, taskyard_core::Loss::Closed);
    }
    for n in 0..4 {
        port.send(Event::Cancel {
            client,
            task: TaskId(n),
        });
    }
    for _ in 0..3 {
        port.flush();
        yard.settle();
    }
    assert_eq!(
        yard.dispatcher.workers_up(),
        0,
        "passed on when there was room"
    );
}

#[test]
fn one_full_ring_does_not_keep_its_owner_awake_for_ever() {
    let mut yard = Yard::new(SMALL, 4);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    assert!(port.poll_delivery().is_none(), "all bells are answered");
    for n in 0..4 {
        send(
            &mut port,
            Event::Cancel {
                client,
                task: TaskId(n),
            },
        );
    }
    assert!(!port.has_room(1));
    yard.settle();
    assert!(
        !port.prepare_sleep(),
        "there is room again, which it had waited for"
    );
    assert!(port.prepare_sleep());
    port.woke();
}

/// One cycle handles some events of each port, and comes back to the rest without being called.
#[test]
fn a_long_burst_is_handled_to_its_end() {
    let mut yard = Yard::new(SMALL, 1024);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    for n in 0..1024 {
        port.send(Event::Cancel {
            client,
            task: TaskId(n),
        });
    }
    port.flush();
    yard.settle();
    assert!(port.has_room(1024));
}

/// A reader that stops just at the last reply has still to say that there is room.
#[test]
fn who_sleeps_after_the_last_reply_has_made_room() {
    let mut yard = Yard::new(SOME, 4);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    for n in 0..4 {
        let nowhere = Submit::new(TaskId(n), Target::Worker(WorkerId(3)));
        yard.submit(&mut port, client, nowhere);
    }
    yard.settle();
    send(
        &mut port,
        Event::Submit {
            client,
            submit: Submit::new(TaskId(9), Target::All),
            payload: yard.mint.make(9),
        },
    );
    yard.settle();
    for _ in 0..4 {
        assert!(port.poll_reply().is_some());
    }
    while !port.prepare_sleep() {
        assert!(port.poll_delivery().is_none());
    }
    port.woke();
    yard.settle();
    assert_eq!(outcomes(&mut port).len(), 1);
}

/// Woken for a pooled task, and dropped before it looks: the next one gets the call.
#[test]
fn who_leaves_while_woken_wakes_another() {
    let mut yard = Yard::new(SMALL, 8);
    let calls = [(); 2].map(|()| Arc::<Call>::default());
    let mut thieves = calls
        .clone()
        .map(|call| yard.dispatcher.attach(call).expect("a port"));
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    for (name, thief) in (0..).zip(&mut thieves) {
        yard.worker(thief, name, 1);
        while !thief.prepare_sleep() {
            assert!(thief.poll_delivery().is_none());
        }
    }
    for call in &calls {
        call.take();
    }
    yard.submit(&mut port, client, Submit::new(TaskId(1), Target::Any));
    yard.settle();
    let woken = usize::from(!calls[0].take());
    let [mut leaver, mut stayer] = thieves;
    if woken == 1 {
        std::mem::swap(&mut leaver, &mut stayer);
    }
    leaver.woke();
    drop(leaver);
    assert!(calls[1 - woken].take(), "the call was handed on");
    stayer.woke();
    assert!(stayer.poll_delivery().is_some());
}

/// Its own mail comes first and takes its slot: the pooled task that it was called for is
/// another's.
#[test]
fn a_woken_thief_that_cannot_take_calls_another_at_once() {
    let mut yard = Yard::new(SMALL, 8);
    let calls = [(); 2].map(|()| Arc::<Call>::default());
    let mut thieves = calls
        .clone()
        .map(|call| yard.dispatcher.attach(call).expect("a port"));
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    let ids = [0, 1].map(|name| yard.worker(&mut thieves[name], name as u128, 1).0);
    for thief in &mut thieves {
        while !thief.prepare_sleep() {
            assert!(thief.poll_delivery().is_none());
        }
    }
    for call in &calls {
        call.take();
    }
    yard.submit(&mut port, client, Submit::new(TaskId(1), Target::Any));
    yard.settle();
    let woken = usize::from(!calls[0].take());
    yard.submit(
        &mut port,
        client,
        Submit::new(TaskId(2), Target::Worker(ids[woken])),
    );
    yard.settle();
    thieves[woken].woke();
    let delivery = thieves[woken].poll_delivery().expect("its mail");
    assert_eq!(delivery.payload.number, 2);
    assert!(calls[1 - woken].take(), "called while the first goes on");
}

/// Only so many threads can sleep on the pool; one more would sleep beside tasks.
#[test]
fn more_threads_with_workers_than_can_be_woken_are_refused() {
    let config = Config {
        ports: 80,
        workers: 80,
        ..SMALL
    };
    let mut yard = Yard::new(config, 8);
    let mut ports: Vec<_> = (0..63).map(|_| yard.port()).collect();
    for (name, port) in (0..).zip(&mut ports) {
        yard.worker(port, name, 1);
    }
    // A second worker of a thread needs no second place.
    yard.worker(&mut ports[0], 1_000, 1);
    let mut last = yard.port();
    send(&mut last, Event::WorkerUp(registration(999, 1, 1)));
    yard.settle();
    assert!(matches!(
        last.poll_reply(),
        Some(Reply::NotRegistered { .. })
    ));
    ports.pop();
    yard.settle();
    yard.worker(&mut last, 999, 1);
}

/// An abort and a report that cross leave nothing behind, and a second report changes nothing.
#[test]
fn a_result_that_crosses_an_abort_wins() {
    let mut yard = Yard::new(SMALL, 8);
    let mut port = yard.port();
    let client = yard.client(&mut port, 1);
    yard.worker(&mut port, 1, 1);
    yard.submit(&mut port, client, Submit::new(TaskId(1), Target::Any));
    yard.settle();
    let delivery = port.poll_delivery().expect("it waits in the pool");
    port.flush();
    yard.settle();
    send(
        &mut port,
        Event::Cancel {
            client,
            task: TaskId(1),
        },
    );
    yard.settle();
    assert!(port.reported(report(&delivery, Verdict::Completed), None));
    assert!(
        !port.reported(report(&delivery, Verdict::Failed), None),
        "it has reported"
    );
    port.flush();
    yard.settle();
    let [outcome] = outcomes(&mut port)[..] else {
        panic!("one outcome")
    };
    assert_eq!(outcome.outcome, Outcome::Completed);
    drop(delivery);
    assert_eq!((yard.dispatcher.tasks(), yard.mint.living()), (0, 0));
}
