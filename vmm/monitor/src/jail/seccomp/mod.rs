//! The system calls that are left to each kind of thread. Anything else kills
//! the process: its machine ends, and no other one is touched.

mod calls;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use calls::Allowed;

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Serves the shim and the devices of this process.
    Main,
    /// Runs a processor.
    Vcpu,
}

/// The filter could not be made or applied.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It does not compile.
    #[error("compile the system call filter of {kind:?} threads")]
    Compile {
        /// Whose.
        kind: Kind,
        /// Why.
        #[source]
        source: BackendError,
    },
    /// The kernel refused it.
    #[error("apply a system call filter")]
    Apply(#[source] seccompiler::Error),
}

/// A filter, compiled.
pub struct Filter(BpfProgram);

impl Filter {
    /// That of a kind of thread of this process.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn new(kind: Kind) -> Result<Self, FilterError> {
        compile(kind)
            .map(Self)
            .map_err(|source| FilterError::Compile { kind, source })
    }

    /// Confines the calling thread, for good.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn apply(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter(&self.0).map_err(FilterError::Apply)
    }
}

fn compile(kind: Kind) -> Result<BpfProgram, BackendError> {
    let (own, before) = match kind {
        Kind::Main => (calls::MAIN, &WITHOUT_CLONE3[..]),
        Kind::Vcpu => (calls::VCPU, &[][..]),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, allowed) in calls::BOTH.iter().chain(own) {
        let these = rules.entry(*call).or_default();
        these.extend(alternatives(*allowed)?);
    }
    let rest: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()?;
    Ok(before.iter().cloned().chain(rest).collect())
}

/// `clone3` is not there: its flags are in memory, where no filter sees them.
/// The C library makes threads by `clone` then, whose flags are an argument. The
/// number means the same on every architecture. Jumps are relative, so that this
/// can stand before any program.
const WITHOUT_CLONE3: [sock_filter; 3] = [
    // The call's number: the first word of struct seccomp_data.
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
    // Another one: over the next instruction.
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, CLONE3),
    instruction(libc::BPF_RET | libc::BPF_K, 0, NOT_THERE),
];
const CLONE3: u32 = 435;
const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

#[allow(clippy::cast_possible_truncation)] // Codes of instructions have 16 bits.
const fn instruction(code: u32, unless: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: unless,
        k,
    }
}

/// Rules any of which is enough; none if every argument will do.
fn alternatives(allowed: Allowed) -> Result<Vec<SeccompRule>, BackendError> {
    match allowed {
        Allowed::Always => Ok(Vec::new()),
        Allowed::If { argument, values } => {
            let equal = |value: &u64| SeccompRule::new(vec![is(argument, *value)?]);
            values.iter().map(equal).collect()
        }
        Allowed::Without { argument, bits } => {
            let lacks = condition(argument, SeccompCmpOp::MaskedEq(bits), 0)?;
            Ok(vec![SeccompRule::new(vec![lacks])?])
        }
        Allowed::ToThreadOfOurs { signals } => {
            let process = u64::from(std::process::id());
            let sent = |signal: &u64| SeccompRule::new(vec![is(0, process)?, is(2, *signal)?]);
            signals.iter().map(sent).collect()
        }
    }
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

/// The kernel reads 32 bits of each argument that is looked at here.
fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

#[cfg(test)]
mod tests;
