//! The table of all keys: what a file may say, and what the value must be.

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path, `guest.default_vcpus`.
    pub path: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// One line for whoever reads the file.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// An absolute path.
    AbsolutePath,
    /// An absolute path, or a name that is looked up in `PATH`.
    Program,
    /// A whole number within bounds, both included.
    Integer {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any number of these words.
    AnyOf(&'static [&'static str]),
}

const fn key(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, doc }
}

const fn integer(min: u32, max: u32) -> Kind {
    Kind::Integer { min, max }
}

/// Most vCPUs of a machine: what the guest kernel is built for (`NR_CPUS`).
pub const MAX_VCPUS: u32 = 64;
/// Least memory that the guest kernel and agent run in, MiB.
pub const MIN_MEMORY_MIB: u32 = 128;
/// Most memory of a machine, MiB: 1 TiB.
pub const MAX_MEMORY_MIB: u32 = 1 << 20;

/// Greatest id of a user: the one after it means none (setresuid(2)).
const MAX_ID: u32 = u32::MAX - 1;

/// The same for each driver; the numbers differ.
const OVERHEAD: &str = "MiB of host memory that a pod takes beside its containers: overhead.podFixed of the RuntimeClass.";

/// Every key there is, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key(
        "driver",
        Kind::OneOf(&["auto", "built-in", "qemu"]),
        "Who runs the machine.",
    ),
    key(
        "state_dir",
        Kind::AbsolutePath,
        "Where running sandboxes keep their files; a tmpfs.",
    ),
    key(
        "annotations",
        Kind::AnyOf(&["default_vcpus", "default_memory"]),
        "Pod annotations io.katacontainers.config.hypervisor.* that may change a value.",
    ),
    key(
        "guest.kernel",
        Kind::AbsolutePath,
        "Uncompressed ELF kernel.",
    ),
    key(
        "guest.initramfs",
        Kind::AbsolutePath,
        "cpio archive whose /init is the agent.",
    ),
    key(
        "guest.kernel_parameters",
        Kind::Text,
        "Appended to the kernel command line.",
    ),
    key(
        "guest.default_vcpus",
        integer(1, MAX_VCPUS),
        "vCPUs before the containers' limits.",
    ),
    key(
        "guest.default_memory_mib",
        integer(MIN_MEMORY_MIB, MAX_MEMORY_MIB),
        "MiB of memory before the containers' limits.",
    ),
    key(
        "guest.max_vcpus",
        integer(1, MAX_VCPUS),
        "Largest VM, limits included.",
    ),
    key(
        "guest.max_memory_mib",
        integer(MIN_MEMORY_MIB, MAX_MEMORY_MIB),
        "Largest VM in MiB, limits included.",
    ),
    key(
        "guest.hotplug_vcpus",
        integer(0, MAX_VCPUS),
        "vCPUs that a running VM can get beyond those of its start.",
    ),
    key(
        "guest.hotplug_memory_mib",
        integer(0, MAX_MEMORY_MIB),
        "MiB of memory that a running VM can get beyond those of its start.",
    ),
    key(
        "guest.boot_timeout_s",
        integer(1, 600),
        "Seconds from starting the machine to the agent's answer.",
    ),
    key("devices.fs", Kind::AbsolutePath, "virtio-fs server."),
    key("devices.vsock", Kind::AbsolutePath, "virtio-vsock device."),
    key(
        "devices.fs_cache",
        Kind::OneOf(&["auto", "always", "never"]),
        "How long the guest may believe what it read.",
    ),
    key("built_in.path", Kind::AbsolutePath, "The built-in VMM."),
    key(
        "built_in.uid",
        integer(1, MAX_ID),
        "The user that the built-in VMM becomes; a number.",
    ),
    key(
        "built_in.gid",
        integer(1, MAX_ID),
        "The group that the built-in VMM becomes; a number.",
    ),
    key(
        "built_in.vhost_net",
        Kind::OneOf(&["auto", "never"]),
        "Whether the host's kernel moves the packets of the built-in VMM's guests.",
    ),
    key(
        "built_in.overhead_mib",
        integer(1, MAX_MEMORY_MIB),
        OVERHEAD,
    ),
    key(
        "qemu.path",
        Kind::Program,
        "QEMU: a path, or a name looked up in PATH.",
    ),
    key(
        "qemu.accel",
        Kind::OneOf(&["auto", "kvm", "mshv", "tcg"]),
        "QEMU accelerator.",
    ),
    key("qemu.overhead_mib", integer(1, MAX_MEMORY_MIB), OVERHEAD),
    key(
        "qemu.disk_ports",
        integer(0, 32),
        "Block volumes that a VM of QEMU's can have at a time.",
    ),
    key(
        "log.level",
        Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        "The shim's log, which containerd collects.",
    ),
];

/// The row of `path`.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether `path` is a table that holds keys.
pub(crate) fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The key whose path looks most like `path`, if any looks alike at all.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    let last = |p: &'static str| p.rsplit('.').next().unwrap_or(p);
    let likeness = |key: &Key| {
        let whole = strsim::jaro_winkler(path, key.path);
        let wanted = path.rsplit('.').next().unwrap_or(path);
        whole.max(strsim::jaro_winkler(wanted, last(key.path)))
    };
    KEYS.iter()
        .map(|key| (likeness(key), key.path))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn paths(prefix: &str, table: &toml::Table, out: &mut Vec<String>) {
        for (name, value) in table {
            let path = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) => paths(&format!("{path}."), inner, out),
                _ => out.push(path),
            }
        }
    }

    #[test]
    fn the_table_and_the_struct_name_the_same_keys() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        let mut fields = Vec::new();
        paths("", &defaults, &mut fields);
        let mut keys: Vec<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        fields.sort();
        keys.sort();
        assert_eq!(keys, fields);
    }

    #[test]
    fn a_typo_finds_its_key() {
        assert_eq!(nearest("guest.default_vcpu"), Some("guest.default_vcpus"));
        assert_eq!(nearest("guest.kernal"), Some("guest.kernel"));
        assert_eq!(
            nearest("default_memory_mib"),
            Some("guest.default_memory_mib")
        );
        assert_eq!(nearest("zzz"), None);
    }
}
