//! The system calls that are left once all threads run. Anything else kills
//! the process: its VM ends, and no other one is touched.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// The filter could not be made or applied.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// It does not compile.
    #[error("cannot compile the system call filter")]
    Compile(#[source] BackendError),
    /// The kernel refused it.
    #[error("cannot apply the system call filter")]
    Apply(#[source] seccompiler::Error),
}

/// Calls that are harmless with any argument, or whose arguments are
/// descriptors we hold.
const FREE: &[libc::c_long] = &[
    // connections, and the vhost-user socket
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    // events
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_timerfd_settime,
    // memory slots: the size of what is to be mapped
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    // memory
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    // threads and time
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    // the end
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
];

/// Applies the filter to all threads of the process.
///
/// # Errors
/// See [`SeccompError`].
pub fn confine() -> Result<(), SeccompError> {
    let program = program().map_err(SeccompError::Compile)?;
    seccompiler::apply_filter_all_threads(&program).map_err(SeccompError::Apply)
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FREE.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(
        libc::SYS_socketpair,
        vec![rule(vec![is(0, libc::AF_UNIX)])?],
    );
    rules.insert(
        libc::SYS_ioctl,
        vec![rule(vec![condition(
            1,
            SeccompCmpOp::Eq,
            libc::FIONBIO.cast_signed(),
        )])?],
    );
    rules.insert(libc::SYS_mmap, vec![rule(vec![lacks(2, libc::PROT_EXEC)])?]);
    rules.insert(
        libc::SYS_mprotect,
        vec![rule(vec![lacks(2, libc::PROT_EXEC)])?],
    );
    // builds with debug assertions look before they close
    let get_flags = vec![rule(vec![is(1, libc::F_GETFD)])?];
    rules.insert(libc::SYS_fcntl, get_flags);
    // a thread that has only just been started gives itself its name
    let set_name = vec![rule(vec![is(0, libc::PR_SET_NAME)])?];
    rules.insert(libc::SYS_prctl, set_name);
    // abort(3), of this process alone: others of our user are other pods'
    let abort = vec![is(0, std::process::id()), is(2, libc::SIGABRT)];
    rules.insert(libc::SYS_tgkill, vec![rule(abort)?]);
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

type Condition = Result<SeccompCondition, BackendError>;

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The argument equals `value`.
fn is(argument: u8, value: impl Into<i64>) -> Condition {
    condition(argument, SeccompCmpOp::Eq, value.into())
}

/// The argument has none of the bits of `flag`.
fn lacks(argument: u8, flag: impl Into<i64>) -> Condition {
    let mask = flag.into().cast_unsigned();
    condition(argument, SeccompCmpOp::MaskedEq(mask), 0)
}

fn condition(argument: u8, op: SeccompCmpOp, value: i64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value.cast_unsigned())
}

#[cfg(test)]
mod tests;
