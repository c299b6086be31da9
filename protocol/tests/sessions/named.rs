//! What is said of a worker says its name, as far as the controller knows it.

use super::support::*;
use taskyard_core::{Cursor, Epoch, WorkerId};
use taskyard_protocol::remote::{ClientEvent, ClientState};
use taskyard_protocol::{ControlOrder, Incoming, Wire, WorkerNames, read_worker_descriptions};

fn once(seq: u32, task: u64) -> Packet {
    let mut header = submit_header(seq, task);
    header.attempt = 1;
    packet(header, Some(b"in"))
}

/// What a remote client makes of a packet: one that has submitted task 1.
fn as_read(packet: &Packet) -> Option<ClientEvent<Bytes>> {
    struct Nowhere;
    impl Wire<Bytes> for Nowhere {
        fn send(&mut self, _: &mut Head, _: Option<Bytes>) -> Result<(), SendError> {
            Ok(())
        }
    }
    let mut client = ClientState::<Bytes>::new(1);
    client.hello(&mut Nowhere);
    let mut welcome = Header::new(Kind::Welcome);
    welcome.ack = 1;
    let welcome = welcome.encode();
    client
        .handle_message(&welcome, Incoming::Alone, &mut Nowhere)
        .unwrap();
    let submit = taskyard_core::Submit::new(taskyard_core::TaskId(1), taskyard_core::Target::Any);
    client
        .submit(submit, None, Bytes::new(), &mut Nowhere)
        .unwrap();
    client
        .handle_message(&packet.first, packet.incoming(), &mut Nowhere)
        .unwrap()
}

fn tried(packet: &Packet) -> Vec<(u32, Option<String>)> {
    let Some(ClientEvent::Outcome {
        outcome: Outcome::WorkerLost,
        payload: None,
        tried,
        ..
    }) = as_read(packet)
    else {
        panic!("no loss: {packet:?}");
    };
    let name = |name: Option<Box<str>>| name.map(String::from);
    tried
        .into_iter()
        .map(|tried| (tried.worker.0, name(tried.name)))
        .collect()
}

#[test]
fn a_loss_names_the_worker_also_if_there_was_only_one() {
    let mut controller = Controller::new();
    let (worker, registered) = controller.worker("gpu-7", 9);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, once(1, 1));
    controller.task(worker);
    controller.disconnect(WORKER, worker);
    let told = controller.answers(CLIENT, client);
    assert_eq!(outcomes(&told), [(1, Outcome::WorkerLost)]);
    assert_eq!(tried(&told[0]), [(registered.worker, Some("gpu-7".into()))]);
}

#[test]
fn a_loss_names_all_that_have_tried_in_their_order() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let names = ["a", "b", "c"];
    let workers: Vec<_> = (names.into_iter().zip(1..))
        .map(|(name, instance)| controller.worker(name, instance).0)
        .collect();
    controller.exchange(CLIENT, client, submit(1, 1));
    let mut order = Vec::new();
    for _ in 0..3 {
        let has_it = |at: &usize| {
            let packets = controller.answers(WORKER, workers[*at]);
            kinds(&packets) == [Kind::Task]
        };
        let at = (0..3).filter(|at| !order.contains(at)).find(has_it);
        let at = at.expect("somebody runs it");
        order.push(at);
        controller.disconnect(WORKER, workers[at]);
    }
    let told = controller.answers(CLIENT, client);
    // Both notices say who was lost.
    let told_by_notices: Vec<_> = told
        .iter()
        .filter_map(as_read)
        .filter_map(|event| match event {
            ClientEvent::Notice { name, .. } => name.map(String::from),
            _ => None,
        })
        .collect();
    let named: Vec<_> = order.iter().map(|at| names[*at].to_owned()).collect();
    assert_eq!(told_by_notices, named[..2]);
    let rows = tried(told.last().expect("an outcome"));
    let rows: Vec<_> = rows.into_iter().filter_map(|(_, name)| name).collect();
    assert_eq!(rows, named);
}

#[test]
fn a_task_that_nobody_has_tried_names_nobody() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let mut header = submit_header(1, 1);
    (header.attempt, header.flags) = (1, Flags::RESENT);
    controller.exchange(CLIENT, client, packet(header, None));
    // It may have run in another controller's time: no worker brings its result.
    controller.now.0 += 60_000_000_000;
    controller.run();
    let told = controller.answers(CLIENT, client);
    assert_eq!(tried(&told[0]), []);
    assert!(told[0].header().flags.has(Flags::NO_PAYLOAD));
}

/// Its shard shares the directory with the others.
#[test]
fn names_are_shared_and_hold_for_one_incarnation() {
    let options = SessionOptions::new(BOOT);
    let names = options.names.clone();
    let mut controller = Controller::with(small_config(), options);
    let (_, registered) = controller.worker("gpu-7", 9);
    let incarnation = (WorkerId(registered.worker), Epoch(registered.epoch));
    assert_eq!(names.name(incarnation).as_deref(), Some("gpu-7"));
    let later = (incarnation.0, Epoch(registered.epoch + 1));
    assert_eq!(names.name(later), None);
    assert_ne!(names, WorkerNames::default());
    let client = controller.client(1);
    let mut header = Header::new(Kind::IsAlive);
    (header.id, header.code, header.worker) = (7, 1, registered.worker);
    let told = controller.exchange(CLIENT, client, packet(header, None));
    let Some(ClientEvent::Alive { alive, name, .. }) = as_read(&told[0]) else {
        panic!("{told:?}");
    };
    assert_eq!((alive, name.as_deref()), (Some(true), Some("gpu-7")));
}

#[test]
fn a_list_of_workers_says_names_and_labels() {
    let mut controller = Controller::new();
    let peer = controller.network.connect(WORKER);
    let mut head = Head::new(&register_header(9, 1)).name("w");
    let labels = Bytes::try_from(&b"\x03gpu\x03big"[..]).unwrap();
    let register = Packet::new(&mut head, Some(labels));
    assert_eq!(
        kinds(&controller.exchange(WORKER, peer, register)),
        [Kind::Registered]
    );
    let operator = controller.client(1);
    controller.network.operators = vec![operator];
    let from = Cursor::default();
    let mut order = ControlOrder::Workers { from }.write(77).unwrap();
    let told = controller.exchange(CLIENT, operator, Packet::new(&mut order, None));
    let bytes = match &told[0].frames {
        Some(frames) => &frames[..],
        None => told[0].message().body,
    };
    let described = read_worker_descriptions(&told[0].header(), bytes).unwrap();
    assert_eq!(described.len(), 1);
    assert_eq!(described[0].name.as_deref(), Some("w"));
    assert_eq!(described[0].labels, [Box::from("gpu"), Box::from("big")]);
}
