//! Resource limits and kernel settings that a container host is expected to
//! have. Containers inherit the limits unless their specification sets its own.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::InitError;

/// Open files of one process: what container hosts give.
const OPEN_FILES: u64 = 1_048_576;

const LIMITS: [(&str, Resource, Option<u64>); 3] = [
    ("open files", Resource::Nofile, Some(OPEN_FILES)),
    ("processes", Resource::Nproc, None),
    ("core file size", Resource::Core, None),
];

/// Settings of the guest's kernel, with the reason for each.
const SYSCTLS: [(&str, &str); 5] = [
    // Databases and search engines refuse to start with the kernel's default.
    ("vm/max_map_count", "1048576"),
    // The default of 128 is used up by a handful of file watchers.
    ("fs/inotify/max_user_instances", "8192"),
    // No process can be allowed more open files; where systemd runs it is this.
    // Tables of files grow with what is open, not with it.
    ("fs/nr_open", "1073741816"),
    // A limit per container exists (`pids.max`); the kernel's own is low with few CPUs.
    ("kernel/pid_max", "4194304"),
    // What kubelet sets on a node.
    ("vm/overcommit_memory", "1"),
];

pub(super) fn raise() -> Result<(), InitError> {
    for (what, resource, value) in LIMITS {
        let limit = Rlimit {
            current: value,
            maximum: value,
        };
        setrlimit(resource, limit).map_err(|errno| InitError::Limit {
            what,
            source: errno.into(),
        })?;
    }
    Ok(())
}

pub(super) fn set_sysctls() -> Result<(), InitError> {
    for (name, value) in SYSCTLS {
        let path = std::path::Path::new("/proc/sys").join(name);
        std::fs::write(&path, value).map_err(|source| InitError::Write {
            path,
            value: value.to_owned(),
            source,
        })?;
    }
    Ok(())
}
