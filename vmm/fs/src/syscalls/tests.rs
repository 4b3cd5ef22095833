//! What the filter does to a process: to a child, which it is the end of.

#![allow(unsafe_code, reason = "fork(2), and calls by their number")]

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::*;

/// Makes a call in a confined child, and tells how that ended: an allowed call in
/// an exit.
fn after(call: libc::c_long, arguments: impl FnOnce() -> [i32; 3]) -> WaitStatus {
    // SAFETY: the child allocates nothing that another thread may have had a
    // lock for: glibc's allocator is usable after a fork.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let [a, b, c] = arguments();
            let confined = restrict().is_ok();
            // SAFETY: each test gives arguments that are harmless if the call
            // is made.
            unsafe {
                if confined {
                    libc::syscall(call, a, b, c);
                }
                libc::syscall(libc::SYS_exit_group, i32::from(!confined));
            }
            std::process::abort()
        }
    }
}

fn ended_by(status: WaitStatus, signal: Signal) -> bool {
    matches!(status, WaitStatus::Signaled(_, by, _) if by == signal)
}

fn kills(call: libc::c_long, arguments: [i32; 3]) -> bool {
    ended_by(after(call, || arguments), Signal::SIGSYS)
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

#[test]
fn signals_reach_nobody_else() {
    let parent = own();
    for signal in [libc::SIGABRT, libc::SIGTERM, 0] {
        assert!(kills(libc::SYS_tgkill, [parent, parent, signal]));
    }
    let aborted = after(libc::SYS_tgkill, || [own(), own(), libc::SIGABRT]);
    assert!(ended_by(aborted, Signal::SIGABRT), "{aborted:?}");
}

#[test]
fn descriptors_are_copied_and_send_no_signals() {
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    for command in [libc::F_DUPFD_CLOEXEC, libc::F_GETFD] {
        let status = after(libc::SYS_fcntl, || [0, command, 0]);
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{command}");
    }
    let setters = [libc::F_SETFL, libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
    for command in setters
        .into_iter()
        .chain([libc::F_NOTIFY, libc::F_SETLEASE])
    {
        assert!(kills(libc::SYS_fcntl, [-1, command, 0]), "{command}");
    }
}
