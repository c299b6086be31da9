//! Any bytes as what a controller says to a client and a worker.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    taskyard_fuzz::remote::run(bytes);
});
