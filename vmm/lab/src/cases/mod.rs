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
//! crashes or hangs is told from the others and takes none along.

mod place;
mod suite;

use std::fmt;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

pub use place::needed;
pub use suite::{Suite, find, path};

/// A test case: what to do, and how long it may take.
#[derive(Clone)]
pub struct Case {
    name: &'static str,
    body: Arc<dyn Fn() -> ExitCode + Send + Sync>,
    timeout: Duration,
}

/// A case that may take a minute. It fails by panicking, or by whatever would
/// make a `main` fail.
#[must_use]
pub fn case<T: Termination>(
    name: &'static str,
    body: impl Fn() -> T + Send + Sync + 'static,
) -> Case {
    Case {
        name,
        body: Arc::new(move || body().report()),
        timeout: Duration::from_secs(60),
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
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
