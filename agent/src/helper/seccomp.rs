//! The container's seccomp filter: compiled once with the container, installed
//! as the last thing before each of its programs runs, execs included.
//!
//! libcontainer installs filters too, but not for execs, and while it still has
//! system calls of its own to make, which a narrow profile would forbid.

mod newer;

use std::io::Read;

use libseccomp::error::SeccompError as LibraryError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::system;

/// Bytes of `struct sock_filter`.
const INSTRUCTION: usize = 8;

/// The profile cannot be made into a filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeccompError {
    #[error(
        "seccomp action SCMP_ACT_NOTIFY needs a listener on the host, which a guest cannot reach"
    )]
    Notify,
    #[error("seccomp: return value {0} does not fit")]
    ReturnValue(u32),
    #[error("compile the seccomp profile")]
    Compile(#[from] LibraryError),
    #[error("read the compiled seccomp profile")]
    Read(#[source] std::io::Error),
}

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Of seccomp(2).
    flags: u32,
    /// Instructions of 8 bytes.
    program: Vec<u8>,
}

impl Filter {
    /// The file's content, as [`Self::to_bytes`] made it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, program) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            flags: u32::from_le_bytes(*flags),
            program: program.to_vec(),
        })
    }

    /// Flags as four bytes, then the program.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&self.flags.to_le_bytes(), self.program.as_slice()].concat()
    }

    /// From here on this process is confined.
    pub(super) fn load(&self) -> std::io::Result<()> {
        let instructions: Vec<_> = self
            .program
            .chunks_exact(INSTRUCTION)
            .filter_map(instruction)
            .collect();
        system::load_filter(self.flags, &instructions)
    }
}

fn instruction(bytes: &[u8]) -> Option<libc::sock_filter> {
    let (code, rest) = bytes.split_first_chunk::<2>()?;
    let (jumps, rest) = rest.split_first_chunk::<2>()?;
    let (operand, _) = rest.split_first_chunk::<4>()?;
    Some(libc::sock_filter {
        code: u16::from_ne_bytes(*code),
        jt: jumps[0],
        jf: jumps[1],
        k: u32::from_ne_bytes(*operand),
    })
}

/// Compiles `profile`.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Filter, SeccompError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default)?;
    for arch in profile.architectures().iter().flatten() {
        if let Some(arch) = architecture(arch) {
            context.add_arch(arch)?;
        }
    }
    for rule in profile.syscalls().iter().flatten() {
        add_rule(&mut context, default, rule)?;
    }
    let has = |arch| context.is_arch_present(arch).unwrap_or(false);
    Ok(Filter {
        flags: flags(profile),
        program: newer::answer(export(&context)?, profile, default, has),
    })
}

fn architecture(arch: &oci_spec::runtime::Arch) -> Option<ScmpArch> {
    use oci_spec::runtime::Arch;
    // The guest is x86-64: no program of another family can run in it.
    match arch {
        Arch::ScmpArchX86_64 => Some(ScmpArch::X8664),
        Arch::ScmpArchX86 => Some(ScmpArch::X86),
        Arch::ScmpArchX32 => Some(ScmpArch::X32),
        _ => None,
    }
}

fn add_rule(
    context: &mut ScmpFilterContext,
    default: ScmpAction,
    rule: &LinuxSyscall,
) -> Result<(), SeccompError> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        return Ok(());
    }
    let conditions: Vec<_> = rule.args().iter().flatten().map(condition).collect();
    for name in rule.names() {
        // A name unknown to the library is a call the kernel does not have either.
        if let Ok(call) = ScmpSyscall::from_name(name) {
            add_call(context, action, call, &conditions)?;
        }
    }
    Ok(())
}

/// Several conditions on one argument cannot be one rule (seccomp_rule_add(3));
/// like runc, each is then a rule of its own.
fn add_call(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    call: ScmpSyscall,
    conditions: &[(u32, ScmpArgCompare)],
) -> Result<(), SeccompError> {
    let indexes: std::collections::BTreeSet<_> =
        conditions.iter().map(|(index, _)| index).collect();
    let compare: Vec<_> = conditions.iter().map(|(_, condition)| *condition).collect();
    if indexes.len() == conditions.len() {
        context.add_rule_conditional(action, call, &compare)?;
        return Ok(());
    }
    for condition in &compare {
        context.add_rule_conditional(action, call, std::slice::from_ref(condition))?;
    }
    Ok(())
}

fn condition(argument: &LinuxSeccompArg) -> (u32, ScmpArgCompare) {
    let operator = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        // The mask is `value`, what the masked argument is compared with `valueTwo`.
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(argument.value()),
    };
    let datum = match argument.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value_two().unwrap_or(0),
        _ => argument.value(),
    };
    let index = u32::try_from(argument.index()).unwrap_or(u32::MAX);
    (index, ScmpArgCompare::new(index, operator, datum))
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<ScmpAction, SeccompError> {
    let value = value.unwrap_or(libc::EPERM.unsigned_abs());
    let too_large = |_| SeccompError::ReturnValue(value);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => {
            ScmpAction::Errno(i32::try_from(value).map_err(too_large)?)
        }
        LinuxSeccompAction::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(value).map_err(too_large)?)
        }
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => return Err(SeccompError::Notify),
    })
}

fn flags(profile: &LinuxSeccomp) -> u32 {
    let mut bits = 0;
    for flag in profile.flags().iter().flatten() {
        bits |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
            }
            // Of one thread, and of notifications: nothing to do here.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync
            | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    u32::try_from(bits).unwrap_or(0)
}

/// The library writes programs to descriptors only.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, SeccompError> {
    let file = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| SeccompError::Read(errno.into()))?;
    context.export_bpf(&file)?;
    let mut file = std::fs::File::from(file);
    let mut program = Vec::new();
    std::io::Seek::rewind(&mut file)
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(SeccompError::Read)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_profile_compiles_and_survives_its_file() {
        let filter = compile(&profile(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "syscalls": [{"names": ["read", "nosuchcall"], "action": "SCMP_ACT_ALLOW"},
                             {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                              "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"},
                                       {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        ))
        .unwrap();
        assert_eq!(filter.flags, 2);
        assert!(filter.program.len() > INSTRUCTION);
        assert_eq!(filter.program.len() % INSTRUCTION, 0);
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), Some(filter));
    }

    /// The errors of a call below the highest that the profile names, and of one
    /// above, in a thread under it: getsid (124) and `openat2` (437).
    fn confined(filter: &Filter) -> [Option<rustix::io::Errno>; 2] {
        let filter = filter.clone();
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            filter.load().unwrap();
            let flags = rustix::fs::OFlags::PATH;
            let (mode, resolve) = (rustix::fs::Mode::empty(), rustix::fs::ResolveFlags::empty());
            let opened = rustix::fs::openat2(rustix::fs::CWD, "/", flags, mode, resolve);
            [rustix::process::getsid(None).err(), opened.err()]
        });
        thread.join().unwrap()
    }

    #[test]
    fn what_is_newer_than_the_profile_is_not_there() {
        // What a thread needs to end.
        let names = r#"["exit", "futex", "munmap", "madvise", "mmap", "mprotect", "brk", "close",
            "rt_sigprocmask", "sigaltstack", "rseq", "set_robust_list", "restart_syscall"]"#;
        let filter = compile(&profile(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
                "syscalls": [{{"names": {names}, "action": "SCMP_ACT_ALLOW"}}]}}"#
        )));
        let errors = confined(&filter.unwrap());
        let [older, newer] = [rustix::io::Errno::PERM, rustix::io::Errno::NOSYS];
        assert_eq!(errors, [Some(older), Some(newer)]);
    }

    #[test]
    fn a_listener_on_the_host_is_refused() {
        let profile = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        );
        assert!(matches!(compile(&profile), Err(SeccompError::Notify)));
    }

    #[test]
    fn a_damaged_file_is_no_filter() {
        assert_eq!(Filter::from_bytes(&[1, 2, 3]), None);
    }
}
