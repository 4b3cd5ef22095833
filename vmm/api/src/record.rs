//! What the shim writes down about a running sandbox, for `kata-mshv ps` and
//! for the clean-up after a shim that died.

use serde::{Deserialize, Serialize};

/// Content of `<state_dir>/<containerd namespace>/<sandbox id>/sandbox.json`.
/// Written whole and renamed into place: a reader never sees half of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// containerd's id of the sandbox.
    pub sandbox_id: String,
    /// containerd's namespace: `k8s.io` for CRI.
    pub namespace: String,
    /// `qemu (tcg)`, `qemu (kvm)`, `built-in`.
    pub driver: String,
    /// Online CPUs.
    pub vcpus: u32,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// `uname -r` of the guest.
    pub guest_kernel: String,
    /// `/proc/sys/kernel/random/boot_id` of the guest.
    pub boot_id: String,
    /// Version of the agent in the guest.
    pub agent_version: String,
    /// Host processes of the sandbox.
    pub pids: Pids,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// When the shim's server began: microseconds of `CLOCK_MONOTONIC`, so
    /// that others can lay the timeline beside their own.
    #[serde(default)]
    pub began_us: u64,
    /// Where the time went until the first container ran, in the order in
    /// which the spans ended. Spans may overlap.
    #[serde(default)]
    pub timeline: Vec<Span>,
}

/// A part of a pod's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// `network`, `kernel to agent`.
    pub name: String,
    /// Microseconds since the shim's server began.
    pub begin_us: u64,
    /// The same clock.
    pub end_us: u64,
}

/// Host processes of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The shim.
    pub shim: u32,
    /// The virtual machine monitor.
    pub vmm: u32,
    /// The virtio-fs device.
    pub fs: u32,
    /// The vsock device.
    pub vsock: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_file() {
        let record = SandboxRecord {
            sandbox_id: "s".into(),
            namespace: "k8s.io".into(),
            driver: "qemu (tcg)".into(),
            vcpus: 2,
            memory_mib: 2560,
            guest_kernel: "6.12".into(),
            boot_id: "b".into(),
            agent_version: "0.1.0".into(),
            pids: Pids {
                shim: 1,
                vmm: 2,
                fs: 3,
                vsock: 4,
            },
            started_at: "2026-01-01T00:00:00Z".into(),
            began_us: 7,
            timeline: vec![Span {
                name: "network".into(),
                begin_us: 1,
                end_us: 2,
            }],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            serde_json::from_str::<SandboxRecord>(&text).unwrap(),
            record
        );
    }
}
