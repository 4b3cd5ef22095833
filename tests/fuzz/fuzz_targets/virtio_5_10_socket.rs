//! See `fuzz::virtio_5_10_socket`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::virtio_5_10_socket::run(data));
