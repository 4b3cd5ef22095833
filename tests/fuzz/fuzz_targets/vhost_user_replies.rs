//! See `fuzz::vhost_user_replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::vhost_user_replies::run(data));
