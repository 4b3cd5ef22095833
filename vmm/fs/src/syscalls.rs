//! The system calls that serving files takes; any other ends the process.
//!
//! No call of these opens a socket, starts a program, names another process,
//! mounts, or opens a file by handle. `clone` makes threads alone, and memory
//! is never executable.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// Calls that are allowed with any arguments, by what they are for.
const ALLOWED: &[&[libc::c_long]] = &[
    // data
    &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_preadv,
        libc::SYS_pwritev,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_lseek,
        libc::SYS_copy_file_range,
        libc::SYS_fallocate,
        libc::SYS_ftruncate,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_syncfs,
    ],
    // names
    &[
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_readlinkat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        libc::SYS_getdents64,
        libc::SYS_fchdir,
        libc::SYS_umask,
    ],
    // attributes
    &[
        libc::SYS_statx,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_fstatfs,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_getxattr,
        libc::SYS_setxattr,
        libc::SYS_listxattr,
        libc::SYS_removexattr,
        libc::SYS_fgetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_flistxattr,
        libc::SYS_fremovexattr,
    ],
    // acting for a user of the guest
    &[
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setgroups,
        libc::SYS_capget,
        libc::SYS_capset,
    ],
    // descriptors, events, the VMM's socket
    &[
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_accept4,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_shutdown,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_eventfd2,
    ],
    // memory, threads, the end
    &[
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
];

/// An argument of a call by its index, of which the bits `mask` must be `value`.
type Condition = (u8, i32, i32);

/// Calls that are allowed if all conditions of a line hold.
const ALLOWED_IF: &[(libc::c_long, &[Condition])] = &[
    (
        libc::SYS_clone,
        &[(0, libc::CLONE_THREAD, libc::CLONE_THREAD)],
    ),
    (libc::SYS_unshare, &[(0, !0, libc::CLONE_FS)]),
    (libc::SYS_mmap, &[(2, libc::PROT_EXEC, 0)]),
    (libc::SYS_mprotect, &[(2, libc::PROT_EXEC, 0)]),
    // Copies of descriptors, and a look before one is closed in builds with debug
    // assertions. Others of its commands have signals sent, to any process.
    (libc::SYS_fcntl, &[(1, !0, libc::F_DUPFD_CLOEXEC)]),
    (libc::SYS_fcntl, &[(1, !0, libc::F_GETFD)]),
    (libc::SYS_prctl, &[(0, !0, libc::PR_SET_NAME)]),
    // libcap-ng looks at every set before it changes one.
    (libc::SYS_prctl, &[(0, !0, libc::PR_CAPBSET_READ)]),
    (
        libc::SYS_prctl,
        &[
            (0, !0, libc::PR_CAP_AMBIENT),
            (1, !0, libc::PR_CAP_AMBIENT_IS_SET),
        ],
    ),
];

/// Failures to install the filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The table above makes no program.
    #[error("compile the system call filter")]
    Compile(#[from] BackendError),
    /// The kernel refused the program.
    #[error("install the system call filter; the kernel needs CONFIG_SECCOMP_FILTER")]
    Install(#[from] seccompiler::Error),
}

/// Confines this thread, and each that it starts, to the calls above.
///
/// # Errors
///
/// If the kernel has no seccomp filters.
pub(crate) fn restrict() -> Result<(), Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    for program in [without_clone3(arch)?, only_allowed(arch)?] {
        apply_filter(&program)?;
    }
    Ok(())
}

/// The flags of clone3 are in memory, where a filter cannot look; without it
/// the C library takes clone.
fn without_clone3(arch: TargetArch) -> Result<BpfProgram, Error> {
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, enosys, arch)?.try_into()?)
}

fn only_allowed(arch: TargetArch) -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<_, _> = ALLOWED
        .iter()
        .flat_map(|group| group.iter())
        .map(|call| (*call, Vec::new()))
        .collect();
    // Left to the other filter, whose answer takes precedence over this one's.
    rules.insert(libc::SYS_clone3, Vec::new());
    for (call, conditions) in ALLOWED_IF {
        rules.entry(*call).or_default().push(rule(conditions)?);
    }
    rules.insert(libc::SYS_tgkill, vec![rule(&abort())?]);
    let deny = SeccompAction::KillProcess;
    Ok(SeccompFilter::new(rules, deny, SeccompAction::Allow, arch)?.try_into()?)
}

/// abort(3), of this process alone: it is root to the kernel, and could signal
/// any.
fn abort() -> [Condition; 2] {
    let process = std::process::id().cast_signed();
    [(0, !0, process), (2, !0, libc::SIGABRT)]
}

fn rule(conditions: &[Condition]) -> Result<SeccompRule, Error> {
    let conditions: Result<_, _> = conditions.iter().map(masked).collect();
    Ok(SeccompRule::new(conditions?)?)
}

fn masked(&(argument, mask, value): &Condition) -> Result<SeccompCondition, BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask.cast_unsigned().into());
    let value = value.cast_unsigned().into();
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests;
