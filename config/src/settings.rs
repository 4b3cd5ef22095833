//! The configuration as the program uses it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that can be configured. `Default` is what an installed package
/// runs with when there is no file at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who runs the machine.
    pub driver: Driver,
    /// Where running sandboxes keep their files; a tmpfs.
    pub state_dir: PathBuf,
    /// Pod annotations that may change a value; names of [`crate::ANNOTATIONS`].
    pub annotations: Vec<String>,
    /// What boots, and how large.
    pub guest: Guest,
    /// The device processes.
    pub devices: Devices,
    /// The built-in driver.
    pub built_in: BuiltIn,
    /// The qemu driver.
    pub qemu: Qemu,
    /// The shim's own log.
    pub log: Log,
}

/// Which implementation runs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The built-in VMM where KVM has hardware behind it, else QEMU.
    Auto,
    /// Our own VMM on `/dev/kvm`.
    BuiltIn,
    /// QEMU.
    Qemu,
}

/// The guest's kernel and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guest {
    /// Uncompressed ELF kernel.
    pub kernel: PathBuf,
    /// cpio archive whose `/init` is the agent.
    pub initramfs: PathBuf,
    /// Appended to the kernel command line.
    pub kernel_parameters: String,
    /// vCPUs of a pod without limits.
    pub default_vcpus: u32,
    /// MiB of memory of a pod without limits.
    pub default_memory_mib: u32,
    /// Largest VM, limits included.
    pub max_vcpus: u32,
    /// Largest VM, limits included, in MiB.
    pub max_memory_mib: u32,
    /// vCPUs that a running VM can get beyond those of its start.
    pub hotplug_vcpus: u32,
    /// MiB of memory that a running VM can get beyond those of its start.
    pub hotplug_memory_mib: u32,
    /// Seconds from starting the machine to the agent's answer.
    pub boot_timeout_s: u32,
}

/// Paths and options of the device processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// virtio-fs server.
    pub fs: PathBuf,
    /// virtio-vsock device.
    pub vsock: PathBuf,
    /// How long the guest may believe what it read.
    pub fs_cache: FsCache,
}

/// virtio-fs cache policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsCache {
    /// Attributes for a second, data until the file changes.
    Auto,
    /// Nobody else writes: keep everything.
    Always,
    /// Ask the host every time.
    Never,
}

/// The built-in driver's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuiltIn {
    /// The VMM.
    pub path: PathBuf,
    /// The user that it becomes, not root.
    pub uid: u32,
    /// The group that it becomes, not root's.
    pub gid: u32,
    /// Who moves the packets of its guests.
    pub vhost_net: VhostNet,
    /// MiB that a pod takes of the host beside its containers.
    pub overhead_mib: u32,
}

/// Use of the host kernel's vhost-net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VhostNet {
    /// Where the host has it.
    Auto,
    /// Never: the VMM moves the packets.
    Never,
}

/// The qemu driver's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Qemu {
    /// Program: a path, or a name looked up in `PATH`.
    pub path: PathBuf,
    /// Accelerator.
    pub accel: Accel,
    /// Block volumes that a VM can have at a time: each has a port of its own.
    pub disk_ports: u32,
    /// MiB that a pod takes of the host beside its containers.
    pub overhead_mib: u32,
}

/// QEMU accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// KVM with hardware behind it, else MSHV, else TCG.
    Auto,
    /// Linux KVM.
    Kvm,
    /// Microsoft hypervisor.
    Mshv,
    /// Emulation: works everywhere, slowly.
    Tcg,
}

/// The shim's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            driver: Driver::Auto,
            state_dir: "/run/kata-mshv-vm-isolation".into(),
            annotations: crate::ANNOTATIONS
                .iter()
                .map(|a| a.name.to_owned())
                .collect(),
            guest: Guest::default(),
            devices: Devices::default(),
            built_in: BuiltIn::default(),
            qemu: Qemu::default(),
            log: Log::default(),
        }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            kernel: "/usr/share/kata-mshv-vm-isolation/vmlinux".into(),
            initramfs: "/usr/share/kata-mshv-vm-isolation/initramfs.cpio".into(),
            kernel_parameters: String::new(),
            default_vcpus: 1,
            default_memory_mib: 2048,
            max_vcpus: 64,
            max_memory_mib: 1 << 20,
            hotplug_vcpus: 3,
            hotplug_memory_mib: 8192,
            boot_timeout_s: 30,
        }
    }
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            fs: "/usr/libexec/kata-mshv-vm-isolation/kata-mshv-fs".into(),
            vsock: "/usr/libexec/kata-mshv-vm-isolation/kata-mshv-vsock".into(),
            fs_cache: FsCache::Auto,
        }
    }
}

impl Default for BuiltIn {
    fn default() -> Self {
        Self {
            path: "/usr/libexec/kata-mshv-vm-isolation/kata-mshv-vmm".into(),
            // nobody
            uid: 65534,
            gid: 65534,
            vhost_net: VhostNet::Auto,
            overhead_mib: 160,
        }
    }
}

impl Default for Qemu {
    fn default() -> Self {
        Self {
            path: "qemu-system-x86_64".into(),
            accel: Accel::Auto,
            disk_ports: 2,
            overhead_mib: 288,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
        }
    }
}
