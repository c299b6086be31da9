//! A fault on purpose, for the check that a sanitizer is at work at all.

/// `cargo xtask test --only asan` runs it and expects a report. By itself it harms nobody.
#[test]
#[ignore = "leaks on purpose"]
fn a_value_is_forgotten() {
    // In a thread that is over when the leaks are counted, or its stack still points there.
    let forgetting = std::thread::spawn(|| std::mem::forget(std::hint::black_box(Box::new(7_u64))));
    forgetting.join().expect("nothing fails");
}
