//! Any bytes as operations on a scheduler.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    taskyard_fuzz::scheduler_ops::run(bytes);
});
