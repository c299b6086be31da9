//! The wire format: what is encoded comes back, and nothing that comes in does harm.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use taskyard_core::Priority;
use taskyard_protocol::wire::{
    FRAMES_MAX, Flags, HEADER_LEN, Head, Header, Kind, Message, OriginTicket, SubmitOptions,
    VERSION, WireError,
};

const KINDS: [Kind; 30] = [
    Kind::ClientHello,
    Kind::Submit,
    Kind::Cancel,
    Kind::Goodbye,
    Kind::IsAlive,
    Kind::Control,
    Kind::Welcome,
    Kind::Outcome,
    Kind::Notice,
    Kind::Alive,
    Kind::Controlled,
    Kind::Register,
    Kind::Result,
    Kind::HandIn,
    Kind::Leave,
    Kind::Output,
    Kind::Started,
    Kind::Revoked,
    Kind::Registered,
    Kind::Task,
    Kind::Abort,
    Kind::Drain,
    Kind::Redirect,
    Kind::Evict,
    Kind::Revoke,
    Kind::Ack,
    Kind::Rejected,
    Kind::WhoAreYou,
    Kind::Ping,
    Kind::Pong,
];

const FACTS: u8 = 0x04 | 0x08 | 0x10 | 0x40;

prop_compose! {
    fn headers()(
        kind in prop::sample::select(&KINDS[..]),
        flags in any::<u8>(),
        numbers in any::<(u32, u32, u32, u64, u32)>(),
        rest in any::<(u8, u8, u16)>(),
    ) -> Header {
        let (seq, ack, worker, id, epoch) = numbers;
        let (attempt, code, extra) = rest;
        // In a message about an attempt, and in a submit, this one announces a section.
        let section = if kind.may_have_origin() || kind.may_have_options() { 0x08 } else { 0 };
        let flags = Flags::from_byte(flags & FACTS & !section);
        Header { kind, flags, frames: 0, seq, ack, worker, id, epoch, attempt, code, extra }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(
        header in headers(),
        name in option::of("[a-zé.:-]{1,120}"),
        deadlines in option::of(any::<(u32, u32)>()),
        options in option::of((0..8_u8, any::<u8>(), any::<u32>())),
        boot in option::of(any::<u64>()),
        origin in option::of(any::<(u64, u64, u64)>()),
        payload in vec(any::<u8>(), 0..200),
    ) {
        let origin = origin.filter(|_| header.kind.may_have_origin());
        let origin = origin.map(|(client, task, ticket)| OriginTicket { client, task, ticket });
        let options = options.filter(|_| header.kind.may_have_options());
        let options = options.map(|(level, retries, hold_ms)| SubmitOptions {
            priority: Priority::new(level), retries, hold_ms,
        });
        let mut head = Head::new(&header);
        let mut flags = header.flags;
        if let Some(name) = &name {
            head = head.name(name);
            flags = flags.with(Flags::NAMED);
        }
        if let Some((start, finish)) = deadlines {
            head = head.deadlines(start, finish);
            flags = flags.with(Flags::DEADLINES);
        }
        if let Some(options) = &options {
            head = head.options(options);
            flags = flags.with(Flags::OPTIONS);
        }
        if let Some(boot) = boot {
            head = head.boot(boot);
            flags = flags.with(Flags::BOOT);
        }
        if let Some(origin) = &origin {
            head = head.origin(origin);
            flags = flags.with(Flags::ORIGIN);
        }
        let frame = [head.as_slice(), &payload].concat();
        let expected = Message {
            header: Header { flags, ..header },
            name: name.as_deref(),
            deadlines,
            options,
            boot,
            origin,
            body: &payload,
        };
        prop_assert_eq!(Message::decode(&frame), Ok(expected));
    }

    /// The other direction: a frame that decodes is exactly the encoding of what it decodes to.
    #[test]
    fn what_decodes_is_canonical(
        kind in prop::sample::select(&KINDS[..]),
        flags in any::<u8>(),
        frames in 0..4_u8,
        mut bytes in vec(any::<u8>(), HEADER_LEN..120),
    ) {
        bytes[..4].copy_from_slice(&[VERSION, kind.to_byte(), flags, frames]);
        if let Ok(message) = Message::decode(&bytes) {
            let has_more = message.origin.is_some() || message.options.is_some();
            let sections = if has_more { 0x2b } else { 0x23 };
            let facts = Flags::from_byte(flags & !sections);
            let mut head = Head::new(&Header { flags: facts, ..message.header });
            if let Some(name) = message.name {
                head = head.name(name);
            }
            if let Some((start, finish)) = message.deadlines {
                head = head.deadlines(start, finish);
            }
            if let Some(options) = &message.options {
                head = head.options(options);
            }
            if let Some(boot) = message.boot {
                head = head.boot(boot);
            }
            if let Some(origin) = &message.origin {
                head = head.origin(origin);
            }
            prop_assert_eq!([head.as_slice(), message.body].concat(), bytes);
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn each_cut_is_noticed(cut in 0..HEADER_LEN + 3 + 8 + 8 + 24) {
        let origin = OriginTicket { client: 4, task: 5, ticket: 6 };
        let head = Head::new(&Header::new(Kind::HandIn)).name("w1").deadlines(1, 2).boot(3);
        let head = head.origin(&origin);
        prop_assert_eq!(Message::decode(&head.as_slice()[..cut]), Err(WireError::Truncated));
    }
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let with = |options: [u8; 8]| {
        let mut header = Header::new(Kind::Submit);
        header.flags = Flags::OPTIONS;
        [&header.encode()[..], &options].concat()
    };
    let read = |options| Message::decode(&with(options)).map(|message| message.options);
    let options = SubmitOptions {
        priority: Priority::MAX,
        retries: 255,
        hold_ms: u32::MAX,
    };
    let most = [7, 255, 0, 0, 255, 255, 255, 255];
    assert_eq!(read(most), Ok(Some(options)));
    for (at, byte) in [(0, 8), (0, 255), (2, 1), (3, 1)] {
        let mut wrong = most;
        wrong[at] = byte;
        assert_eq!(read(wrong), Err(WireError::Options), "{at}");
    }
    for cut in HEADER_LEN..HEADER_LEN + 8 {
        let cut = Message::decode(&with(most)[..cut]).map(|message| message.options);
        assert_eq!(cut, Err(WireError::Truncated));
    }
    // Elsewhere the bit announces nothing, or an origin.
    let mut header = Header::new(Kind::Outcome);
    header.flags = Flags::PART;
    let frame = [&header.encode()[..], &most].concat();
    let message = Message::decode(&frame).unwrap();
    assert_eq!((message.options, message.body), (None, &most[..]));
}

#[test]
fn each_kind_has_one_number() {
    let known = (0..=255).filter_map(Kind::from_byte).collect::<Vec<_>>();
    assert_eq!(known, KINDS);
    assert!(
        KINDS
            .iter()
            .all(|kind| Kind::from_byte(kind.to_byte()) == Some(*kind))
    );
}

#[test]
fn another_version_is_told_apart_from_garbage() {
    assert_eq!(Header::decode(&[2]), Err(WireError::Version(2)));
    assert_eq!(
        Header::decode(&[1; HEADER_LEN - 1]),
        Err(WireError::Truncated)
    );
    assert_eq!(Header::decode(&[]), Err(WireError::Truncated));
}

#[test]
fn a_payload_is_in_one_place() {
    let mut header = Header::new(Kind::Submit);
    header.frames = 1;
    let inline_too = [&header.encode()[..], b"x"].concat();
    assert_eq!(Message::decode(&inline_too), Err(WireError::Body));
    header.flags = Flags::NO_PAYLOAD;
    assert_eq!(Message::decode(&header.encode()), Err(WireError::Body));
    header.frames = 0;
    assert!(Message::decode(&header.encode()).is_ok());
}

#[test]
fn sixty_four_frames_and_no_more() {
    let mut header = Header::new(Kind::Submit);
    header.frames = FRAMES_MAX as u8;
    assert!(Message::decode(&header.encode()).is_ok());
    header.frames += 1;
    assert_eq!(
        Message::decode(&header.encode()),
        Err(WireError::Frames(65))
    );
    assert!(
        Header::decode(&header.encode()).is_ok(),
        "what to refuse can still be read"
    );
}

#[test]
fn names_have_bytes_that_are_text() {
    let named = |name: &[u8]| {
        let mut header = Header::new(Kind::Register);
        header.flags = Flags::NAMED;
        [&header.encode()[..], &[name.len() as u8], name].concat()
    };
    assert_eq!(Message::decode(&named(b"")), Err(WireError::Name));
    assert_eq!(Message::decode(&named(&[0xff])), Err(WireError::Name));
    assert_eq!(
        Message::decode(&named("wörk".as_bytes())).unwrap().name,
        Some("wörk")
    );
}

#[test]
fn a_forwarder_patches_the_header_and_nothing_else() {
    let mut frame = [
        Head::new(&Header::new(Kind::Submit))
            .deadlines(5, 6)
            .as_slice(),
        b"pay",
    ]
    .concat();
    let (mut header, _) = Header::decode(&frame).unwrap();
    header.kind = Kind::Task;
    header.patch(&mut frame).unwrap();
    let message = Message::decode(&frame).unwrap();
    assert_eq!(message.header.kind, Kind::Task);
    assert_eq!(
        (message.deadlines, message.body),
        (Some((5, 6)), &b"pay"[..])
    );
    assert_eq!(header.patch(&mut [0; 31]), Err(WireError::Truncated));
}

#[test]
#[should_panic(expected = "wire order")]
fn sections_out_of_order_are_a_mistake_of_the_program() {
    let _ = Head::new(&Header::new(Kind::Submit))
        .deadlines(1, 1)
        .name("late");
}
