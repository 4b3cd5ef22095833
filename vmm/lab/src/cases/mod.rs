//! Test cases that need a true `/dev/kvm`.
//!
//! A test target with `harness = false` lists them:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     lab::Suite::new()
//!         .file("vmlinux", "target/guest/vmlinux")
//!         .case(lab::case("boots", boots).seconds(30))
//!         .main()
//! }
//!
//! fn boots() {
//!     assert!(lab::path("vmlinux").is_file());
//! }
//! ```
//!
//! Each case is a process of its own, here or in the lab, so that one that
//! crashes or hangs is told from the others and takes none along. It fails by
//! panicking.

mod place;
mod suite;

use std::time::Duration;

pub use suite::{Suite, path};

/// A test case: what to do, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    body: fn(),
    timeout: Duration,
}

/// A case that may take a minute.
#[must_use]
pub fn case(name: &'static str, body: fn()) -> Case {
    Case {
        name,
        body,
        timeout: Duration::from_secs(60),
    }
}

impl Case {
    /// That may take so long.
    #[must_use]
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }
}
