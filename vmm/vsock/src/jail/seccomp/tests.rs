//! What the filter does to a process: to a child, which it is the end of.

#![allow(unsafe_code)] // fork(2), and calls by their number.

use super::*;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Makes a confined child do `calls`, and tells how it ended: in an exit if they
/// leave it alone.
fn after(calls: impl FnOnce()) -> WaitStatus {
    // SAFETY: the child allocates nothing that another thread may have had a
    // lock for: glibc's allocator is usable after a fork.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let confined =
                program().is_ok_and(|program| seccompiler::apply_filter(&program).is_ok());
            if confined {
                calls();
            }
            // SAFETY: ends the process.
            unsafe { libc::syscall(libc::SYS_exit_group, i32::from(!confined)) };
            std::process::abort()
        }
    }
}

/// tgkill(2) of a thread that is the only one of its process.
fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: a signal touches no memory.
    unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) };
}

fn ended_by(status: WaitStatus, signal: Signal) -> bool {
    matches!(status, WaitStatus::Signaled(_, by, _) if by == signal)
}

#[test]
fn what_is_not_needed_ends_the_process() {
    assert!(matches!(after(|| ()), WaitStatus::Exited(_, 0)));
    let socket = || {
        // SAFETY: a socket that nobody uses.
        unsafe { libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0) };
    };
    assert!(ended_by(after(socket), Signal::SIGSYS));
}

#[test]
fn signals_reach_nobody_else() {
    let parent = std::process::id();
    for number in [libc::SIGABRT, libc::SIGTERM, 0] {
        let status = after(|| signal(parent, number));
        assert!(ended_by(status, Signal::SIGSYS), "{number}: {status:?}");
    }
    let own = after(|| signal(std::process::id(), libc::SIGABRT));
    assert!(ended_by(own, Signal::SIGABRT), "{own:?}");
}
