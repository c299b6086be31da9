//! `docs/PROTOCOL.md` says what is true: each hex dump decodes to what stands beside it, each table
//! of numbers agrees with the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use taskyard_core::{ClientId, Histogram, Phase, Target, TaskId, WorkerId};
use taskyard_protocol::wire::{Header, Kind, Message};
use taskyard_protocol::{Answer, Statistics, read_answer, read_labels};

const DOC: &str = include_str!("../../docs/PROTOCOL.md");

/// The blocks of a fenced language, without their fences.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let parts = DOC.split(fence.as_str()).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap_or_default())
        .collect()
}

/// What the page says about a dump, by field; strings without their quotes.
fn stated(block: &str) -> BTreeMap<String, String> {
    let notes = block.lines().filter_map(|line| line.split_once(';'));
    let items = notes.flat_map(|(_, note)| note.split(','));
    items
        .filter_map(|item| item.trim().split_once(' '))
        .map(|(field, value)| (field.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

fn bytes(block: &str) -> Vec<u8> {
    let dumps = block
        .lines()
        .map(|line| line.split(';').next().unwrap_or_default());
    let digits = dumps.flat_map(str::split_whitespace);
    digits
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}

/// The same statements, made from what the bytes decode to.
fn decoded(frame: &[u8]) -> BTreeMap<String, String> {
    let message = Message::decode(frame).expect("the page's messages can be decoded");
    let Header {
        kind,
        flags,
        frames,
        seq,
        ack,
        worker,
        id,
        epoch,
        attempt,
        code,
        extra,
    } = message.header;
    let mut said = BTreeMap::from([
        ("version", "1".to_owned()),
        ("kind", format!("{kind:?}")),
        ("flags", format!("{:#04x}", flags.to_byte())),
        ("frames", frames.to_string()),
        ("seq", seq.to_string()),
        ("ack", ack.to_string()),
        ("worker", worker.to_string()),
        ("id", id.to_string()),
        ("epoch", epoch.to_string()),
        ("attempt", attempt.to_string()),
        ("code", code.to_string()),
        ("extra", extra.to_string()),
    ]);
    if let Some(name) = message.name {
        said.insert("name", name.to_owned());
    }
    if let Some((start, finish)) = message.deadlines {
        said.insert("start_within_ms", start.to_string());
        said.insert("finish_within_ms", finish.to_string());
    }
    if let Some(options) = message.options {
        said.insert("priority", options.priority.level().to_string());
        said.insert("retries", options.retries.to_string());
        said.insert("hold_ms", options.hold_ms.to_string());
    }
    if let Some(boot) = message.boot {
        said.insert("boot", format!("{boot:#018x}"));
    }
    if let Some(origin) = message.origin {
        said.insert("client", format!("{:#018x}", origin.client));
        said.insert("task", origin.task.to_string());
        said.insert("ticket", format!("{:#018x}", origin.ticket));
    }
    say_body(&mut said, &message);
    said.into_iter()
        .map(|(field, value)| (field.to_owned(), value))
        .collect()
}

fn say_body(said: &mut BTreeMap<&str, String>, message: &Message<'_>) {
    let Header { kind, code, .. } = message.header;
    if kind == Kind::Control {
        say_order(said, message.body);
    } else if kind == Kind::Controlled {
        say_row(said, message.body);
    } else if kind == Kind::Outcome && code == 2 {
        say_tried(said, message.body);
    } else if kind == Kind::Register {
        let labels = read_labels(message.body).expect("labels");
        if !labels.is_empty() {
            said.insert("labels", labels.join(" "));
        }
    } else if kind == Kind::ClientHello {
        let mut key = String::new();
        message
            .body
            .iter()
            .for_each(|byte| write!(key, "{byte:02x}").unwrap());
        said.insert("key", key);
    } else if !message.body.is_empty() {
        said.insert("body", String::from_utf8_lossy(message.body).into_owned());
    }
}

fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().rev();
    digits.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn say_order(said: &mut BTreeMap<&str, String>, body: &[u8]) {
    let fields = [
        ("client", 0..8),
        ("task", 8..16),
        ("older_than_ms", 16..20),
        ("cursor", 20..24),
    ];
    for (field, range) in fields {
        said.insert(field, number(&body[range]).to_string());
    }
    assert_eq!(body.len(), 24);
}

/// The one row of a list of tasks; also as the code reads it.
fn say_row(said: &mut BTreeMap<&str, String>, body: &[u8]) {
    let fields = [
        ("handle", 0..8),
        ("client", 8..16),
        ("task", 16..24),
        ("target", 24..32),
        ("age_ms", 32..36),
        ("on_worker", 36..40),
        ("topic", 40..41),
        ("state", 41..42),
        ("priority", 42..43),
        ("run", 43..44),
    ];
    for (field, range) in fields {
        said.insert(field, number(&body[range]).to_string());
    }
    said.insert("marks", format!("{:#04x}", body[44]));
    assert_eq!(body.len(), 48);
}

/// The two rows of a loss, the first of a worker that has a name; also as the code reads them.
fn say_tried(said: &mut BTreeMap<&str, String>, body: &[u8]) {
    let (first, rest) = body.split_at(4);
    let (name, last) = rest[1..].split_at(rest[0].into());
    said.insert("lost_by", number(first).to_string());
    said.insert("called", String::from_utf8_lossy(name).into_owned());
    said.insert("then_lost_by", number(&last[..4]).to_string());
    assert_eq!(last[4..], [0], "no name");
}

/// The row of the page is also what the code takes it for.
#[test]
fn the_row_is_read_as_it_is_explained() {
    let frames = blocks("hex").into_iter().map(bytes);
    let rows: Vec<_> = frames
        .filter(|frame| frame[1] == Kind::Controlled.to_byte())
        .collect();
    let [frame] = &rows[..] else {
        panic!("one dump of an answer, not {}", rows.len());
    };
    let message = Message::decode(frame).expect("it can be decoded");
    let answer = read_answer(&message.header, message.body).expect("it can be read");
    let Answer::Tasks(page) = answer else {
        panic!("a list, not {answer:?}");
    };
    let row = page.rows[0];
    assert_eq!(row.client, Some(ClientId::from_bits(589_824)));
    assert_eq!((row.task, row.target), (TaskId(42), Target::Any));
    assert_eq!((row.phase, row.worker), (Phase::Running, Some(WorkerId(3))));
    assert_eq!((row.attempt.0, row.age_ms, row.part), (1, 1500, false));
}

#[test]
fn each_dump_is_what_it_is_said_to_be() {
    let blocks = blocks("hex");
    assert!(blocks.len() >= 15, "only {} dumps were found", blocks.len());
    for block in blocks {
        assert_eq!(stated(block), decoded(&bytes(block)), "{block}");
    }
}

#[test]
fn the_dumps_show_the_kinds_that_a_newcomer_needs() {
    let shown = blocks("hex")
        .into_iter()
        .map(bytes)
        .map(|frame| frame[1])
        .collect::<Vec<_>>();
    for kind in [
        Kind::ClientHello,
        Kind::Welcome,
        Kind::Submit,
        Kind::Cancel,
        Kind::Outcome,
        Kind::Notice,
        Kind::IsAlive,
        Kind::Alive,
        Kind::Control,
        Kind::Controlled,
        Kind::Register,
        Kind::Registered,
        Kind::Task,
        Kind::Result,
        Kind::Output,
        Kind::HandIn,
        Kind::Redirect,
        Kind::Ack,
        Kind::Rejected,
        Kind::WhoAreYou,
    ] {
        assert!(shown.contains(&kind.to_byte()), "no dump of {kind:?}");
    }
}

#[test]
fn each_kind_has_its_row() {
    for kind in (0..=255).filter_map(Kind::from_byte) {
        let row = format!("| {:#04x} | {kind:?} |", kind.to_byte());
        assert!(DOC.contains(&row), "no row {row}");
    }
}

#[test]
fn the_counters_stand_in_their_order() {
    let statistics = Statistics::default();
    let names: Vec<_> = statistics
        .counters()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let page: Vec<_> = DOC.split_whitespace().collect();
    let list = names.join(", ") + ".";
    assert!(
        page.join(" ").contains(&list),
        "the page does not say {list}"
    );
    let buckets = format!("Both have {} buckets.", Histogram::BUCKETS);
    assert!(DOC.contains(&buckets), "the page does not say {buckets}");
}

/// The examples carry their numbers with them; those must be the protocol's.
#[test]
fn the_examples_use_the_kinds_numbers() {
    let examples = blocks("python");
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert!(example.lines().count() <= 60, "an example is short");
        for line in example.lines().take_while(|line| !line.starts_with("def ")) {
            let Some((names, numbers)) = line.split_once(" = 0x") else {
                continue;
            };
            let numbers = format!("0x{numbers}");
            for (name, number) in names.split(", ").zip(numbers.split(", ")) {
                let number = u8::from_str_radix(number.trim_start_matches("0x"), 16).unwrap();
                if let Some(kind) = Kind::from_byte(number).filter(|_| !is_flag(name)) {
                    assert_eq!(format!("{kind:?}").to_uppercase(), name.replace('_', ""));
                }
            }
        }
    }
}

fn is_flag(name: &str) -> bool {
    let flags = [
        "NAMED",
        "ORIGIN",
        "HAS_WORKER",
        "BOOT",
        "NO_REDIRECT",
        "RESENT",
    ];
    flags.contains(&name)
}
