//! See `fuzz::boot_images`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::boot_images::run(data));
