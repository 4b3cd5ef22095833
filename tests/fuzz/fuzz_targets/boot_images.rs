//! See `fuzz::boot_images`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::boot_images::run(data));
