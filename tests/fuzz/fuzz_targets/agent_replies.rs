//! See `fuzz::agent_replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::agent_replies::run(data));
