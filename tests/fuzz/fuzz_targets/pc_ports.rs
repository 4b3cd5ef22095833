//! See `fuzz::pc_ports`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pc_ports::run(data));
