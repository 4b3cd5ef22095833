//! See `fuzz::boot_command_line`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::boot_command_line::run(data));
