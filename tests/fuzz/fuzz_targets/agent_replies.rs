//! See `fuzz::agent_replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::agent_replies::run(data));
