//! See `fuzz::virtio_5_10_socket`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::virtio_5_10_socket::run(data));
