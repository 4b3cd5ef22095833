//! See `fuzz::virtio_5_3_console`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_3_console::run(data));
