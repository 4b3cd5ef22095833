//! See `fuzz::virtio_2_7_split_queue`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_2_7_split_queue::run(data));
