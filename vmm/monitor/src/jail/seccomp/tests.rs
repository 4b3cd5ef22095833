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
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_setuid,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_process_vm_readv,
            libc::SYS_prctl,
            libc::SYS_seccomp,
        ] {
            assert!(kills(kind, call, [NOWHERE; 3]), "{kind:?} {call}");
        }
    }
}

#[test]
fn requests_to_devices_are_those_of_the_kind() {
    let run = 0xae80;
    assert!(passes(Kind::Vcpu, libc::SYS_ioctl, [NOWHERE, run, 0]));
    let create_vcpu = 0xae41;
    assert!(passes(
        Kind::Main,
        libc::SYS_ioctl,
        [NOWHERE, create_vcpu, 0]
    ));
    assert!(kills(
        Kind::Vcpu,
        libc::SYS_ioctl,
        [NOWHERE, create_vcpu, 0]
    ));
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
fn the_hosts_kernel_is_told_of_queues_on_the_main_thread_alone() {
    use vhost::vhost_kern::vhost_binding as vhost;
    let set_up = [
        vhost::VHOST_SET_OWNER(),
        vhost::VHOST_GET_FEATURES(),
        vhost::VHOST_SET_FEATURES(),
        vhost::VHOST_SET_MEM_TABLE(),
        vhost::VHOST_SET_VRING_NUM(),
        vhost::VHOST_SET_VRING_ADDR(),
        vhost::VHOST_SET_VRING_BASE(),
        vhost::VHOST_SET_VRING_KICK(),
        vhost::VHOST_SET_VRING_CALL(),
        vhost::VHOST_SET_VRING_ERR(),
    ];
    for request in set_up {
        let arguments = [NOWHERE, request.cast_signed(), 0];
        assert!(passes(Kind::Main, libc::SYS_ioctl, arguments));
        assert!(kills(Kind::Vcpu, libc::SYS_ioctl, arguments));
    }
    for kind in [Kind::Main, Kind::Vcpu] {
        let set_tap = vhost::VHOST_NET_SET_BACKEND().cast_signed();
        assert!(passes(kind, libc::SYS_ioctl, [NOWHERE, set_tap, 0]));
        for request in [
            vhost::VHOST_SET_LOG_BASE(),
            vhost::VHOST_SET_LOG_FD(),
            vhost::VHOST_RESET_OWNER(),
            vhost::VHOST_SET_BACKEND_FEATURES(),
        ] {
            let arguments = [NOWHERE, request.cast_signed(), 0];
            assert!(kills(kind, libc::SYS_ioctl, arguments));
        }
    }
}

/// The flags of a thread, as pthread_create(3) has them.
const THREAD: libc::c_int = 0x3d_0f00;

#[test]
fn only_the_main_thread_makes_threads_and_nobody_makes_processes() {
    for kind in [Kind::Main, Kind::Vcpu] {
        for flags in [libc::SIGCHLD, libc::CLONE_NEWUSER | THREAD, 0] {
            assert!(kills(kind, libc::SYS_clone, [flags.into(), 0, 0]));
        }
    }
    assert!(kills(Kind::Vcpu, libc::SYS_clone, [THREAD.into(), 0, 0]));
    assert!(kills(Kind::Vcpu, libc::SYS_clone3, [0; 3]));
    // Not there, whatever is asked of it.
    assert!(passes(Kind::Main, libc::SYS_clone3, [0; 3]));
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

/// In a child, because the filters stay.
#[test]
fn a_thread_comes_late_and_is_confined_as_a_processors() {
    // SAFETY: as in `after`. A thread that the C library makes in the child
    // takes only locks that the child's own thread could have had.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let made = Filter::new(Kind::Main)
                .and_then(|filter| filter.apply())
                .is_ok()
                && std::thread::Builder::new()
                    .name("vcpu1".into())
                    .spawn(|| {
                        Filter::new(Kind::Vcpu)
                            .and_then(|filter| filter.apply())
                            .is_ok()
                    })
                    .is_ok_and(|thread| thread.join().unwrap_or(false));
            // SAFETY: ends the process.
            unsafe { libc::syscall(libc::SYS_exit_group, i32::from(!made)) };
            std::process::abort()
        }
    };
    assert!(matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))));
}
