//! Any bytes as what happens around the sessions of a shard.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    taskyard_fuzz::sessions::run(bytes);
});
