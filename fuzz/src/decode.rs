//! Any bytes as a first frame.

use taskyard_protocol::wire::{Flags, Head, Header, Message};
use taskyard_protocol::{
    ControlOrder, read_answer, read_labels, read_worker_descriptions, write_labels,
};

/// The flags that stand for sections; a [`Head`] sets them itself.
const SECTIONS: u8 = Flags::NAMED.to_byte() | Flags::DEADLINES.to_byte() | Flags::BOOT.to_byte();

/// Decodes a frame. What decodes is exactly the encoding of what it decodes to, and a frame that
/// was cut does not pass for a whole one.
///
/// # Panics
/// The wire format is broken.
pub fn run(frame: &[u8]) {
    let Ok(message) = Message::decode(frame) else {
        return;
    };
    let head = encode(&message);
    let again = [head.as_slice(), message.body].concat();
    assert_eq!(again, frame, "another encoding of {message:?}");
    assert_eq!(Message::decode(&again), Ok(message));
    let head_len = frame.len() - message.body.len();
    assert!(
        Message::decode(&frame[..head_len - 1]).is_err(),
        "cut, and accepted"
    );
    read_body(&message);
}

/// Orders and answers of queue control: an order is what it is written as, once more.
fn read_body(message: &Message<'_>) {
    if let Ok(order) = ControlOrder::read(message) {
        let head = order.write(message.header.id).expect("its name was read");
        let again = Message::decode(head.as_slice()).expect("it was written");
        assert_eq!(ControlOrder::read(&again), Ok(order));
    }
    // Rows of any bytes.
    if read_answer(&message.header, message.body).is_ok() {
        let described = read_worker_descriptions(&message.header, message.body);
        described.expect("an answer whose names can be read");
    }
    // And labels: they are written as they were read.
    if let Ok(labels) = read_labels(message.body) {
        assert_eq!(write_labels(&labels).as_slice(), message.body);
    }
}

fn encode(message: &Message<'_>) -> Head {
    let facts = Flags::from_byte(message.header.flags.to_byte() & !SECTIONS);
    let mut head = Head::new(&Header {
        flags: facts,
        ..message.header
    });
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
    head
}
