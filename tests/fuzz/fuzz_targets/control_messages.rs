//! See `fuzz::control_messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::control_messages::run(data));
