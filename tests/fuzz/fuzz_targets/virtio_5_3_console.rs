//! See `fuzz::virtio_5_3_console`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::virtio_5_3_console::run(data));
