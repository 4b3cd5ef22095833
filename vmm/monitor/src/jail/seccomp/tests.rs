//! What a filter does to a process: to a child, which it is the end of.

#![allow(unsafe_code)] // fork(2), and calls by their number.

use super::*;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Makes the call in a child confined as `kind`, and tells how that ended: an
/// allowed call in an exit.
fn after(kind: Kind, call: libc::c_long, arguments: [libc::c_long; 3]) -> WaitStatus {
    let [a, b, c] = arguments;
    // SAFETY: the child allocates nothing that another thread may have had a
    // lock for: glibc's allocator is usable after a fork.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let applied = Filter::new(kind).and_then(|filter| filter.apply());
            // SAFETY: each test gives arguments that are harmless if the call
            // is made.
            unsafe {
                if applied.is_err() {
                    libc::syscall(libc::SYS_exit_group, 1);
                }
                libc::syscall(call, a, b, c);
                libc::syscall(libc::SYS_exit_group, 0);
            }
            std::process::abort()
        }
    }
}

fn kills(kind: Kind, call: libc::c_long, arguments: [libc::c_long; 3]) -> bool {
    matches!(
        after(kind, call, arguments),
        WaitStatus::Signaled(_, Signal::SIGSYS, _)
    )
}

fn passes(kind: Kind, call: libc::c_long, arguments: [libc::c_long; 3]) -> bool {
    matches!(after(kind, call, arguments), WaitStatus::Exited(_, 0))
}

const NOWHERE: libc::c_long = -1;

#[test]
fn neither_kind_opens_or_names_anything() {
    for kind in [Kind::Main, Kind::Vcpu] {
        for call in [
            libc::SYS_socket,
            libc::SYS_open,
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_fork,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_setuid,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_readv,
            libc::SYS_prctl,
        ] {
            assert!(kills(kind, call, [NOWHERE; 3]), "{kind:?} {call}");
        }
    }
}

#[test]
fn requests_to_devices_are_those_of_the_kind() {
    let run = 0xae80;
    assert!(passes(Kind::Vcpu, libc::SYS_ioctl, [NOWHERE, run, 0]));
    assert!(kills(Kind::Main, libc::SYS_ioctl, [NOWHERE, run, 0]));
    let create_vm = 0xae01;
    for kind in [Kind::Main, Kind::Vcpu] {
        assert!(kills(kind, libc::SYS_ioctl, [NOWHERE, create_vm, 0]));
        let set = libc::TUNSETOFFLOAD.try_into().unwrap();
        assert!(passes(kind, libc::SYS_ioctl, [NOWHERE, set, 0]));
    }
}

#[test]
fn devices_come_and_go_on_the_main_thread_alone() {
    let requests = [0x4020_ae76, 0x4040_ae79, 0x8008_1272, 0x1277, 0x8004_54d2];
    for request in requests {
        let arguments = [NOWHERE, request, 0];
        assert!(passes(Kind::Main, libc::SYS_ioctl, arguments));
        assert!(kills(Kind::Vcpu, libc::SYS_ioctl, arguments));
    }
    // Disk work is begun by one, and waited for by any.
    for kind in [Kind::Main, Kind::Vcpu] {
        assert!(passes(kind, libc::SYS_io_uring_enter, [NOWHERE, 0, 0]));
        assert!(kills(kind, libc::SYS_io_uring_register, [NOWHERE, 0, 0]));
    }
}

#[test]
fn memory_never_becomes_code() {
    let executable = libc::c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    for kind in [Kind::Main, Kind::Vcpu] {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert!(kills(kind, call, [0, 4096, executable]));
            assert!(passes(kind, call, [0, 4096, 0]));
        }
    }
}

#[test]
fn signals_reach_nobody_else() {
    let parent = libc::c_long::from(std::process::id().cast_signed());
    let signal = libc::c_long::from(libc::SIGUSR1);
    for kind in [Kind::Main, Kind::Vcpu] {
        assert!(kills(kind, libc::SYS_tgkill, [parent, parent, signal]));
    }
}

#[test]
fn only_the_main_thread_waits_and_releases() {
    for call in [libc::SYS_epoll_wait, libc::SYS_fallocate] {
        assert!(passes(Kind::Main, call, [NOWHERE; 3]));
        assert!(kills(Kind::Vcpu, call, [NOWHERE; 3]));
    }
}
