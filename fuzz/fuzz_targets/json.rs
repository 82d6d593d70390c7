//! The entry point of cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::run(&fuzz::targets::json::TARGET, input));
