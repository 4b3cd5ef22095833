//! The lab's side: this program as its init.

mod init;
mod loopback;
mod mounts;
mod port;

use std::ffi::OsStr;

/// Given on the lab's kernel command line, from where it gets into init's
/// environment and that of everything it starts.
pub(crate) const MARK: &str = "KATA_MSHV_LAB";

/// Becomes the lab's init, and never returns, if this process is the first of a
/// lab. Has to be the first thing that `main` does.
pub fn enter() {
    if inside() && std::process::id() == 1 {
        init::run();
    }
}

/// Whether this process is in a lab.
#[must_use]
pub fn inside() -> bool {
    std::env::var_os(MARK).as_deref() == Some(OsStr::new("1"))
}
