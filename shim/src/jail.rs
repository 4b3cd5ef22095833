//! What every helper process loses before it starts.

#![allow(unsafe_code)] // `pre_exec` runs code between fork and exec.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::process::Command;

/// Ends `command`'s process with the shim, and keeps it from ever gaining
/// privileges. What more it gives up it does itself, knowing what it needs.
pub(crate) fn confine(command: &mut Command) {
    let set_up = || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_no_new_privs()?;
        Ok(())
    };
    // SAFETY: the closure only makes two prctl system calls: nothing in it
    // allocates or takes a lock, as is required between fork and exec.
    unsafe { command.pre_exec(set_up) };
}
