//! See `fuzz::pc_ports`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::pc_ports::run(data));
