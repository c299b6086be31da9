//! Replays the corpus of the fuzz target `decode`, without a fuzzer.

use std::fs;
use std::path::Path;

use taskyard_protocol::wire::Message;

#[expect(unreachable_pub, reason = "it is the public body of a fuzz target")]
#[path = "../../fuzz/src/decode.rs"]
mod decode;

#[test]
fn the_corpus_does_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/decode");
    let (mut decoded, mut refused) = (0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let bytes = fs::read(entry.expect("it can be listed").path()).expect("it can be read");
        decode::run(&bytes);
        match Message::decode(&bytes) {
            Ok(_) => decoded += 1,
            Err(_) => refused += 1,
        }
    }
    // A corpus of one kind only shows little.
    assert!(decoded > 20 && refused > 4, "{decoded} and {refused}");
}
