//! Replays the corpus of the fuzz target `scheduler_ops`, and as many random inputs, without a
//! fuzzer: each operation leaves the tables whole.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "it is the public body of a fuzz target")]
#[path = "../../fuzz/src/scheduler_ops/mod.rs"]
mod scheduler_ops;

#[test]
fn the_corpus_does_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/scheduler_ops");
    let mut replayed = 0;
    let (mut completed, mut rerun, mut swept) = (0, 0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let bytes = fs::read(entry.expect("it can be listed").path()).expect("it can be read");
        let stats = scheduler_ops::run(&bytes);
        replayed += 1;
        completed += stats.completed;
        rerun += stats.rerun;
        swept += stats.removed;
    }
    assert!(replayed > 20, "a corpus of {replayed}");
    // A corpus that reaches nothing shows nothing.
    assert!(completed > 0 && rerun > 0 && swept > 0);
}

#[test]
fn no_bytes_do_harm() {
    // As an xorshift goes: the same bytes every time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for len in (0..4_000).step_by(20) {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        scheduler_ops::run(&bytes);
    }
}
