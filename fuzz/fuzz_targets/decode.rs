//! Any bytes as a first frame.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskyard_fuzz::decode::run(bytes));
