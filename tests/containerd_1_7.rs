//! Cases on containerd 1.7.

use std::process::ExitCode;

/// What containerd has a part in. What shim, agent and VMM do by themselves is shown
/// with containerd 2; all of it here, too, where the environment asks for it.
const CONTAINERDS: &[&str] = &[
    "ctr",
    "lifecycle::",
    "exec::",
    "logs::",
    "stop::",
    "containers::",
    "pod_life::",
    "streams::",
    "mounts::",
    "snapshotters::",
    "written::",
    "memory_volumes::",
    "user_namespace::",
    "network::",
    "plugins::",
    "cards::",
    "port_forward::",
    "restart::",
    "sizing::",
    "resize::",
    "volumes::",
    "deaths::",
    "errors::",
    "many::",
];

fn main() -> ExitCode {
    e2e::harness::main(e2e::bed::Version::V1_7, Some(CONTAINERDS))
}
