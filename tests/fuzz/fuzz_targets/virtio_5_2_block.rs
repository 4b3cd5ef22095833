//! See `fuzz::virtio_5_2_block`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_2_block::run(data));
