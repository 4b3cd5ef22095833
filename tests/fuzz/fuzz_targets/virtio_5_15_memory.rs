//! See `fuzz::virtio_5_15_memory`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_15_memory::run(data));
