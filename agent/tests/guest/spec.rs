//! OCI specifications like those that containerd makes.

use serde_json::{Value, json};

const CAPABILITIES: [&str; 5] = [
    "CAP_CHOWN",
    "CAP_KILL",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_NET_BIND_SERVICE",
];

/// A process that runs `script` in a shell.
pub(crate) fn shell(script: &str) -> Value {
    process(&["/bin/sh", "-c", script])
}

/// A process of `arguments`.
pub(crate) fn process(arguments: &[&str]) -> Value {
    json!({
        "user": {"uid": 0, "gid": 0},
        "args": arguments,
        "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        },
        "noNewPrivileges": false,
        "apparmorProfile": "cri-containerd.apparmor.d",
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024}],
    })
}

/// A container that runs `process`.
pub(crate) fn container(process: Value) -> Value {
    json!({
        "ociVersion": "1.1.0",
        "process": process,
        "root": {"path": "/image/rootfs", "readonly": false},
        "hostname": "somebody-else",
        "mounts": mounts(),
        "linux": {
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 67_108_864},
                "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "6-7"},
                "hugepageLimits": [{"pageSize": "64KB", "limit": 0}],
                "blockIO": {"weight": 500},
            },
            "cgroupsPath": "/kubepods/burstable/podx/c",
            "namespaces": [
                {"type": "pid"},
                {"type": "ipc", "path": "/proc/4242/ns/ipc"},
                {"type": "uts", "path": "/proc/4242/ns/uts"},
                {"type": "network", "path": "/var/run/netns/cni-x"},
                {"type": "mount"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        {"destination": "/dev/shm", "type": "bind", "source": protocol::paths::SHM,
         "options": ["rbind", "ro"]},
    ])
}
