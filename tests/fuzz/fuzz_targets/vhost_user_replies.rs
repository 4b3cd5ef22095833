//! See `fuzz::vhost_user_replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::prepare(), |data: &[u8]| fuzz::vhost_user_replies::run(data));
