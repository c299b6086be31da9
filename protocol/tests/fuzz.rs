//! Replays the corpora of the fuzz targets `decode`, `sessions` and `remote`, without a fuzzer; and
//! shows that they can find something.

use std::fs;
use std::panic;
use std::path::Path;

use taskyard_protocol::wire::Message;

#[expect(unreachable_pub, reason = "it is the public body of a fuzz target")]
#[path = "../../fuzz/src/decode.rs"]
mod decode;
#[expect(unreachable_pub, reason = "it is the public body of a fuzz target")]
#[path = "../../fuzz/src/remote/mod.rs"]
mod remote;
#[expect(unreachable_pub, reason = "it is the public body of a fuzz target")]
#[path = "../../fuzz/src/sessions/mod.rs"]
mod sessions;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        fs::read(entry.expect("it can be listed").path()).expect("it can be read")
    };
    entries.map(read).collect()
}

/// Whether a broken rule is noticed by at least one input.
fn is_noticed(target: &str, run: impl Fn(&[u8]) + panic::RefUnwindSafe) -> bool {
    let quiet = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let noticed = corpus(target)
        .iter()
        .any(|bytes| panic::catch_unwind(|| run(bytes)).is_err());
    panic::set_hook(quiet);
    noticed
}

#[test]
fn the_corpus_of_frames_does_no_harm() {
    let (mut decoded, mut refused) = (0, 0);
    for bytes in corpus("decode") {
        decode::run(&bytes);
        match Message::decode(&bytes) {
            Ok(_) => decoded += 1,
            Err(_) => refused += 1,
        }
    }
    // A corpus of one kind only shows little.
    assert!(decoded > 20 && refused > 4, "{decoded} and {refused}");
}

#[test]
fn the_corpus_of_sessions_does_no_harm() {
    let (mut completed, mut rerun, mut foreign, mut refused) = (0, 0, 0, 0);
    for bytes in corpus("sessions") {
        let (sessions, scheduler) = sessions::run(&bytes);
        completed += scheduler.completed;
        rerun += scheduler.rerun;
        foreign += sessions.foreign;
        refused += sessions.unsent;
    }
    // A corpus that reaches nothing shows nothing.
    assert!(completed > 0 && rerun > 0 && foreign > 0 && refused > 0);
}

#[test]
fn the_corpus_of_an_erring_controller_does_no_harm() {
    let (mut events, mut garbage, mut done) = (0, 0, 0);
    for bytes in corpus("remote") {
        let counters = remote::run(&bytes);
        events += counters.events;
        garbage += counters.garbage;
        done += counters.done;
    }
    assert!(events > 0 && garbage > 0 && done > 0);
}

#[test]
fn nobody_speaks_for_another() {
    sessions::run_forgery(None);
}

#[test]
#[should_panic(expected = "never said")]
fn canary_who_knows_the_instance_speaks_for_another() {
    sessions::run_forgery(Some(sessions::Fault::Impostor));
}

#[test]
fn canary_broken_rules_are_noticed() {
    use remote::Fault as Remote;
    use sessions::Fault as Session;
    for fault in [Session::Swallow, Session::Mistake] {
        let noticed = is_noticed("sessions", |bytes| {
            sessions::run_with(bytes, Some(fault));
        });
        assert!(noticed, "{fault:?}");
    }
    for fault in [Remote::Repeat, Remote::Forget] {
        let noticed = is_noticed("remote", |bytes| {
            remote::run_with(bytes, Some(fault));
        });
        assert!(noticed, "{fault:?}");
    }
}
