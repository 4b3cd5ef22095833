//! See `fuzz::virtio_5_1_6_5_control`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_1_6_5_control::run(data));
