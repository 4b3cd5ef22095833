//! System calls for which no safe wrapper exists.
#![allow(
    unsafe_code,
    reason = "fork, exec, seccomp and sched_setattr have no safe wrapper"
)]

use std::ffi::{CStr, CString};
use std::io;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Forks a sibling: a child of this process's parent. `None` in the new process.
pub(super) fn fork_sibling() -> io::Result<Option<Pid>> {
    fork(libc::CLONE_PARENT)
}

/// Forks a child. `None` in the new process.
pub(super) fn fork_child() -> io::Result<Option<Pid>> {
    fork(0)
}

fn fork(flags: libc::c_int) -> io::Result<Option<Pid>> {
    // SAFETY: without CLONE_VM this is fork(2); the process has one thread, so
    // the copy finds no lock held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next forked process is the first of a new PID namespace.
pub(super) fn new_pid_namespace() -> io::Result<()> {
    // SAFETY: no memory is unshared, only a kernel object of this process.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(io::Error::from)
}

/// This process is in a new user namespace from here on, and in network, IPC and
/// UTS namespaces that belong to it.
pub(super) fn new_pod_namespaces() -> io::Result<()> {
    let pod =
        UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: no memory is unshared, only kernel objects of this process.
    unsafe { rustix::thread::unshare_unsafe(pod) }.map_err(io::Error::from)
}

/// From here on the kernel reaps this process's children.
pub(super) fn ignore_children() {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Closes everything but the standard streams.
pub(super) fn close_inherited() {
    // SAFETY: called by a process that will use no descriptor any more.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Ends this process without running anything of the process it was forked from.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(code) }
}

/// Replaces the program. Returns only on failure.
pub(super) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    // A Rust program ignores SIGPIPE, which would be inherited.
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with null and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Installs a seccomp filter of `length` instructions (seccomp(2)).
pub(super) fn load_filter(flags: u32, program: &[libc::sock_filter]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `length` instructions and copies them; it writes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has this process scheduled as `attributes` say (sched_setattr(2)).
pub(super) fn set_scheduler(mut attributes: libc::sched_attr) -> io::Result<()> {
    const SIZE: usize = size_of::<libc::sched_attr>();
    attributes.size = u32::try_from(SIZE).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of the structure, which are its own,
    // and writes at most its size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attributes, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
