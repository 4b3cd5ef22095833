//! How each peer is told what to run.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::contest::Images;

/// What ours gives its guest too, where it means anything to theirs.
const KERNEL: &str = "console=ttyS0 quiet 8250.nr_uarts=1 panic=-1 tsc=reliable no_timer_check \
                      noreplace-smp";

/// Firecracker has no PCI unless asked, and no ACPI reset.
const OF_FIRECRACKER: &str = "reboot=k pci=off";

/// By a configuration file: no requests over its API socket.
pub(super) fn firecracker(
    command: &mut Command,
    folder: &Path,
    images: &Images,
    memory_mib: u64,
    vsock: Option<&Path>,
) -> anyhow::Result<()> {
    let mut config = json!({
        "boot-source": {
            "kernel_image_path": images.kernel,
            "initrd_path": images.initramfs,
            "boot_args": format!("{KERNEL} {OF_FIRECRACKER}"),
        },
        "drives": [],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": memory_mib },
    });
    if let (Some(path), Some(object)) = (vsock, config.as_object_mut()) {
        object.insert(
            "vsock".to_owned(),
            json!({ "guest_cid": 3, "uds_path": path }),
        );
    }
    let file = folder.join("machine.json");
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    let log = folder.join("log");
    std::fs::write(&log, b"")?;
    command.arg("--no-api").arg("--config-file").arg(file);
    command
        .args(["--level", "Error"])
        .arg("--log-path")
        .arg(log);
    Ok(())
}

/// Besides [`cloud_hypervisor`]'s.
pub(super) fn for_pods(command: &mut Command, folder: &Path) {
    let share = folder.join("fs");
    command
        .arg("--fs")
        .arg(format!("tag=share,socket={}", share.display()));
    command.args(["--balloon", "size=0,free_page_reporting=on"]);
}

pub(super) fn cloud_hypervisor(
    command: &mut Command,
    images: &Images,
    memory_mib: u64,
    vsock: Option<&Path>,
    shared: bool,
) {
    command.arg("--kernel").arg(&images.kernel);
    command.arg("--initramfs").arg(&images.initramfs);
    command.args(["--cmdline", KERNEL, "--cpus", "boot=1"]);
    let shared = if shared { "on" } else { "off" };
    command
        .arg("--memory")
        .arg(format!("size={memory_mib}M,shared={shared}"));
    command.args(["--serial", "tty", "--console", "off"]);
    if let Some(path) = vsock {
        command
            .arg("--vsock")
            .arg(format!("cid=3,socket={}", path.display()));
    }
}
