//! See `fuzz::virtio_5_1_network`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_1_network::run(data));
