//! See `fuzz::virtio_5_4_entropy`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_4_entropy::run(data));
