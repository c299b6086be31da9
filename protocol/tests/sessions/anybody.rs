//! What either side may say, and what nobody may.

use super::support::*;

#[test]
fn a_stranger_is_asked_once() {
    let mut controller = Controller::new();
    for (side, message) in [(CLIENT, submit(1, 1)), (WORKER, bare(Kind::Result))] {
        let peer = controller.network.connect(side);
        assert_eq!(
            kinds(&controller.exchange(side, peer, Packet::probe())),
            [Kind::WhoAreYou],
            "{side:?}"
        );
        assert!(controller.exchange(side, peer, message.clone()).is_empty());
        assert!(controller.exchange(side, peer, message).is_empty());
    }
    assert_eq!(controller.sessions.stats().unregistered, 4);
}

#[test]
fn what_is_not_understood_is_rejected_by_kind() {
    let mut controller = Controller::new();
    let peer = controller.network.connect(WORKER);
    let mut version = bare(Kind::Leave);
    version.first[0] = 2;
    let mut unknown = bare(Kind::Leave);
    unknown.first[1] = 0xee;
    let short = Packet {
        first: vec![1, 0x21, 0],
        frames: None,
    };
    let nameless = packet(register_header(1, 1), None);
    for (bad, expected) in [
        (version, Rejection::Version),
        (unknown, Rejection::Kind),
        (short, Rejection::Malformed),
        (nameless, Rejection::Malformed),
        (submit(1, 1), Rejection::Kind),
        (bare(Kind::Welcome), Rejection::Kind),
    ] {
        assert_eq!(
            rejection(&controller.exchange(WORKER, peer, bad)),
            Some(expected)
        );
    }
    let client = controller.network.connect(CLIENT);
    let mut keyless = hello(1, 1);
    keyless.first.pop();
    let answers = controller.exchange(CLIENT, client, keyless);
    assert_eq!(rejection(&answers), Some(Rejection::Malformed));
    let stats = controller.sessions.stats();
    assert_eq!(
        (
            stats.version_unknown,
            stats.kind_unknown,
            stats.malformed,
            stats.misplaced
        ),
        (1, 1, 3, 2)
    );
}

#[test]
fn everybody_may_ping() {
    let mut controller = Controller::new();
    for side in [CLIENT, WORKER] {
        let peer = controller.network.connect(side);
        let ping = packet(
            Header {
                id: 77,
                ..Header::new(Kind::Ping)
            },
            None,
        );
        let answers = controller.exchange(side, peer, ping);
        assert_eq!(
            (answers[0].header().kind, answers[0].header().id),
            (Kind::Pong, 77)
        );
    }
}

#[test]
fn too_many_connections_are_turned_away() {
    let options = SessionOptions {
        peers_max: 2,
        ..SessionOptions::new(BOOT)
    };
    let mut controller = Controller::with(small_config(), options);
    for side in [CLIENT, WORKER] {
        let peers = [(); 3].map(|()| controller.network.connect(side));
        let answers = peers.map(|peer| controller.exchange(side, peer, Packet::probe()));
        assert_eq!(rejection(&answers[2]), Some(Rejection::PeersFull));
        controller.disconnect(side, peers[0]);
        assert_eq!(
            kinds(&controller.exchange(side, peers[2], Packet::probe())),
            [Kind::WhoAreYou]
        );
    }
}

/// Random messages, half of them almost right, from clients and workers that behave as they like:
/// no panic, and a well-behaved pair beside them does not notice.
#[test]
fn nonsense_harms_nobody_else() {
    let mut random = Random(2026);
    for _ in 0..8 {
        let mut controller = Controller::new();
        let client = controller.client(0xaa);
        let mut hostile =
            [CLIENT, CLIENT, WORKER, WORKER].map(|side| (side, controller.network.connect(side)));
        for round in 1..=400_u32 {
            let (side, peer) = &mut hostile[random.below(4)];
            controller.exchange(*side, *peer, nonsense(&mut random));
            if random.one_in(16) {
                controller.disconnect(*side, *peer);
                *peer = controller.network.connect(*side);
            }
            if round % 50 == 0 {
                let number = u64::from(round);
                let (worker, registered) = controller.worker(&format!("good {round}"), number);
                let mut header = submit_header(round, number);
                (header.code, header.worker) = (1, registered.worker);
                controller.exchange(CLIENT, client, packet(header, Some(b"good")));
                let task = controller.task(worker);
                controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"fine")));
                let answers = controller.answers(CLIENT, client);
                assert_eq!(outcomes(&answers), [(number, Outcome::Completed)]);
                controller.exchange(WORKER, worker, bare(Kind::Leave));
            }
        }
    }
}

fn nonsense(random: &mut Random) -> Packet {
    let kind = Kind::from_byte(random.below(0x48) as u8).unwrap_or(Kind::Register);
    let mut header = Header::new(kind);
    header.seq = random.below(6) as u32;
    header.ack = random.below(3) as u32;
    header.worker = random.below(12) as u32;
    header.id = random.below(6) as u64;
    header.epoch = random.below(12) as u32;
    header.attempt = random.below(3) as u8;
    header.code = random.below(4) as u8;
    header.extra = random.below(3) as u16;
    let mut head = Head::new(&header);
    if random.one_in(2) {
        head = head.name(["a", "b", "c"][random.below(3)]);
    }
    if random.one_in(2) {
        head = head.boot(BOOT);
    }
    if kind == Kind::ClientHello {
        head = Head::new(&header).body(&[random.below(3) as u8; 16]);
    }
    let payload = random
        .one_in(2)
        .then(|| Bytes::try_from(&b"xyz"[..random.below(4)]).unwrap());
    let mut packet = Packet::new(&mut head, payload);
    if random.one_in(4) && !packet.first.is_empty() {
        let place = random.below(packet.first.len());
        packet.first[place] = random.next() as u8;
    }
    if random.one_in(16) {
        packet.first.truncate(random.below(40));
    }
    if random.one_in(64) {
        packet.frames = None;
    }
    packet
}
