//! What a kernel leaves to its first process.

use std::fs;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

const NONE: Option<&str> = None;

pub(crate) fn mount_system() -> anyhow::Result<()> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(target)?;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), NONE)
            .with_context(|| format!("mount {kind} on {target}"))?;
    }
    Ok(())
}

pub(crate) fn mount_share(target: &str) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    mount(
        Some("share"),
        target,
        Some("virtiofs"),
        MsFlags::empty(),
        NONE,
    )
    .context("mount the share")
}

pub(crate) fn power_off() -> ! {
    nix::unistd::sync();
    // Only an error returns, and then PID 1 has nothing left to do.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    std::process::exit(1);
}
