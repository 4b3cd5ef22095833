//! Calls newer than the profile: those with numbers above the highest it names.
//! Whoever wrote it did not decide on them, so they do not exist (ENOSYS), as
//! under runc. C libraries try new calls first and go back to the old ones on
//! that answer alone, not on the EPERM of a profile's default.

use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};
use oci_spec::runtime::LinuxSeccomp;

use super::INSTRUCTION;

/// Instructions of the longest program that the kernel takes.
const LONGEST: usize = 4096;
/// `struct seccomp_data` of seccomp(2): where the call's number is, and where
/// its architecture.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// `AUDIT_ARCH_X86_64`, of x32 too, and `AUDIT_ARCH_I386`.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
/// Set in the numbers of x32.
const X32_BIT: u32 = 0x4000_0000;
/// Numbers from here on are below zero.
const NEGATIVE: u32 = 0x8000_0000;

/// A way of calling the kernel that has numbers of its own.
struct Abi {
    arch: ScmpArch,
    audit: u32,
    /// Where its numbers end.
    end: u32,
}

/// The most frequent one first: every call passes through.
const ABIS: [Abi; 3] = [
    Abi {
        arch: ScmpArch::X8664,
        audit: X86_64,
        end: X32_BIT,
    },
    Abi {
        arch: ScmpArch::X86,
        audit: I386,
        end: NEGATIVE,
    },
    Abi {
        arch: ScmpArch::X32,
        audit: X86_64,
        end: NEGATIVE,
    },
];

/// `program`, made of `profile` with the default action `default`, behind
/// instructions that answer the newer calls of the ABIs that `has` knows.
pub(super) fn answer(
    program: Vec<u8>,
    profile: &LinuxSeccomp,
    default: ScmpAction,
    has: impl Fn(ScmpArch) -> bool,
) -> Vec<u8> {
    if !refuses(default) {
        return program;
    }
    let before: Vec<_> = ABIS
        .iter()
        .filter(|abi| has(abi.arch))
        .filter_map(|abi| Some(block(abi, highest(profile, abi.arch)?)))
        .flatten()
        .flat_map(bytes)
        .collect();
    // A profile that long is good without them.
    match before.len() + program.len() > LONGEST * INSTRUCTION {
        true => program,
        false => [before, program].concat(),
    }
}

/// Whether it keeps calls from the kernel, with an answer other than ENOSYS.
fn refuses(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_) => false,
        ScmpAction::Errno(errno) => errno != libc::ENOSYS,
        _ => true,
    }
}

/// The highest number of the calls that `profile` names, whatever it has them do.
fn highest(profile: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let rules = profile.syscalls().iter().flatten();
    let numbers = rules.flat_map(|rule| rule.names()).filter_map(|name| {
        let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
        // Calls that only other architectures have are below zero.
        u32::try_from(call.as_raw_syscall()).ok()
    });
    numbers.max()
}

/// Answers the calls of `abi` above `highest`; all others pass to what follows.
fn block(abi: &Abi, highest: u32) -> [libc::sock_filter; 6] {
    let errno = libc::ENOSYS.unsigned_abs();
    [
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, abi.audit, 0, 4),
        load(NUMBER),
        jump(libc::BPF_JGT, highest, 0, 2),
        jump(libc::BPF_JGE, abi.end, 1, 0),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno,
            0,
            0,
        ),
    ]
}

fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Passes over `yes` instructions if the comparison with `operand` holds, over
/// `no` if not.
fn jump(comparison: u32, operand: u32, yes: u8, no: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | comparison | libc::BPF_K;
    instruction(code, operand, yes, no)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    // All codes are below 256.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    libc::sock_filter { code, jt, jf, k }
}

fn bytes(instruction: libc::sock_filter) -> [u8; INSTRUCTION] {
    let [c0, c1] = instruction.code.to_ne_bytes();
    let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
    [c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

    /// What `program` returns for call `number`, as the kernel would run it.
    fn returned(program: &[u8], audit: u32, number: u32) -> u32 {
        let program: Vec<_> = program
            .chunks_exact(INSTRUCTION)
            .map(|bytes| super::super::instruction(bytes).unwrap())
            .collect();
        let (mut next, mut accumulator) = (0, 0);
        loop {
            let at = program[next];
            next += 1;
            let holds = match u32::from(at.code) {
                libc::BPF_RET => return at.k,
                0x20 => {
                    accumulator = if at.k == NUMBER { number } else { audit };
                    continue;
                }
                0x15 => accumulator == at.k,
                0x25 => accumulator > at.k,
                0x35 => accumulator >= at.k,
                code => panic!("instruction {code:#x}"),
            };
            next += usize::from(if holds { at.jt } else { at.jf });
        }
    }

    fn profile() -> LinuxSeccomp {
        // openat is 257 of x86-64 and 295 of i386; `waitpid` is of i386 alone.
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["openat", "nosuchcall", "waitpid"], "action": "SCMP_ACT_ALLOW"}]}"#;
        serde_json::from_str(json).unwrap()
    }

    fn program(default: ScmpAction, has: &[ScmpArch]) -> Vec<u8> {
        let rest = bytes(instruction(libc::BPF_RET | libc::BPF_K, ALLOW, 0, 0));
        answer(rest.to_vec(), &profile(), default, |arch| {
            has.contains(&arch)
        })
    }

    #[test]
    fn each_abi_has_a_highest_number_of_its_own() {
        let all = [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32];
        let program = program(ScmpAction::Errno(libc::EPERM), &all);
        for (audit, highest, end) in [
            (X86_64, 257, X32_BIT),
            (X86_64, X32_BIT | 257, NEGATIVE),
            (I386, 295, NEGATIVE),
        ] {
            for (number, expected) in [
                (highest - 1, ALLOW),
                (highest, ALLOW),
                (highest + 1, ABSENT),
                (end - 1, ABSENT),
                (end, ALLOW),
            ] {
                let result = returned(&program, audit, number);
                assert_eq!(result, expected, "{number:#x} of {audit:#x}");
            }
        }
    }

    #[test]
    fn an_abi_that_the_profile_does_not_have_is_left_to_it() {
        let program = program(ScmpAction::KillProcess, &[ScmpArch::X8664]);
        assert_eq!(returned(&program, X86_64, 258), ABSENT);
        assert_eq!(returned(&program, X86_64, X32_BIT | 258), ALLOW);
        assert_eq!(returned(&program, I386, 296), ALLOW);
    }

    #[test]
    fn a_default_that_says_so_itself_or_lets_calls_pass_stays() {
        for default in [
            ScmpAction::Allow,
            ScmpAction::Log,
            ScmpAction::Trace(1),
            ScmpAction::Errno(libc::ENOSYS),
        ] {
            assert_eq!(
                program(default, &[ScmpArch::X8664]).len(),
                INSTRUCTION,
                "{default:?}"
            );
        }
    }

    #[test]
    fn a_program_that_has_no_room_stays_as_it_is() {
        let longest = vec![0; (LONGEST - 5) * INSTRUCTION];
        let kept = answer(
            longest.clone(),
            &profile(),
            ScmpAction::Errno(libc::EPERM),
            |_| true,
        );
        assert!(kept == longest);
    }
}
