//! The lab's side: this program as its init.

mod init;
mod loopback;
mod mounts;
mod port;

use std::ffi::OsStr;

#[cfg(test)]
pub(crate) use mounts::HOST_TAG;
pub use mounts::SCRATCH;

/// Given on the lab's kernel command line, from where it gets into init's
/// environment and that of everything it starts.
pub(crate) const MARK: &str = "KATA_MSHV_LAB";

/// Given there too, when the lab's root is to be the host's files.
pub(crate) const HOST_FILES: &str = "KATA_MSHV_LAB_HOST_FILES";

/// Becomes the lab's init, and never returns, if this process is the first of a
/// lab. Has to be the first thing that `main` does.
pub fn enter() {
    if inside() && std::process::id() == 1 && is_called_init() {
        init::run();
    }
}

/// As the kernel calls it. Other first processes in a lab are those of PID
/// namespaces.
fn is_called_init() -> bool {
    std::env::args_os().next().as_deref() == Some(OsStr::new("/init"))
}

/// Whether this process is in a lab.
#[must_use]
pub fn inside() -> bool {
    is_set(MARK)
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).as_deref() == Some(OsStr::new("1"))
}
