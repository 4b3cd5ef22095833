//! What a seccomp profile does not know.

use serde_json::json;

use crate::pod::Pod;
use crate::spec;

/// What busybox needs to start; none has a number above `set_robust_list`'s, 273.
const OLD: [&str; 16] = [
    "brk",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "readlink",
    "mprotect",
    "prctl",
    "getuid",
    "openat",
    "exit_group",
    "execve",
    "write",
    "read",
    "close",
    "fstat",
    "ioctl",
];

/// C libraries go back to older calls when one does not exist, not when it is
/// refused: `mkdir` is number 83, `fallocate` 285.
#[tokio::test]
async fn a_call_newer_than_the_profile_does_not_exist() {
    let mut pod = Pod::boot().await;
    for (arguments, expected) in [
        (
            &["busybox", "mkdir", "/tmp/x"][..],
            "Operation not permitted",
        ),
        (
            &["busybox", "fallocate", "-l", "1", "/tmp/x"],
            "Function not implemented",
        ),
    ] {
        let mut spec = spec::container(spec::process(arguments));
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": OLD, "action": "SCMP_ACT_ALLOW"}],
        });
        let (_, stderr, status) = pod.output_of("c", &spec).await;
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(status, 1, "{stderr}");
    }
}
