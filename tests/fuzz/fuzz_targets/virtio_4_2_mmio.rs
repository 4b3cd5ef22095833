//! See `fuzz::virtio_4_2_mmio`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_4_2_mmio::run(data));
