//! See `fuzz::virtio_5_5_balloon`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_5_balloon::run(data));
