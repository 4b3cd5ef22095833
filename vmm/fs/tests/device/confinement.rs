//! What the kernel says of the running process, and how it starts and ends.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use anyhow::{Context, ensure};
use nix::mount::{MsFlags, mount};

use crate::front_end::FrontEnd;
use crate::process::{Device, command};
use crate::share::Share;

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, MKNOD and SETFCAP, as
/// capability.h numbers them.
const CAPABILITIES: &str = "00000000880000db";

#[test]
fn a_running_device_is_confined() -> anyhow::Result<()> {
    let share = Share::new()?;
    let device = Device::start(&share, &["--threads", "1"])?;
    let _front_end = FrontEnd::connect(device.socket())?;
    let status = fs::read_to_string(device.proc("status"))?;
    for (field, expected) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", CAPABILITIES),
        ("CapEff", CAPABILITIES),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Groups", ""),
    ] {
        let found = status.lines().find_map(|line| line.strip_prefix(field));
        let found = found
            .and_then(|rest| rest.strip_prefix(':'))
            .context(field)?;
        ensure!(found.trim() == expected, "{field} is {found:?}");
    }
    let mounts = fs::read_to_string(device.proc("mountinfo"))?;
    ensure!(mounts.lines().count() == 1, "it sees mounts: {mounts}");
    let (root, shared) = (
        fs::metadata(device.proc("root"))?,
        fs::metadata(share.path())?,
    );
    ensure!((root.dev(), root.ino()) == (shared.dev(), shared.ino()));
    Ok(())
}

#[test]
fn it_ends_well_when_the_vmm_hangs_up() -> anyhow::Result<()> {
    let share = Share::new()?;
    let device = Device::start(&share, &[])?;
    drop(FrontEnd::connect(device.socket())?);
    device.ends()
}

#[test]
fn it_is_killed_when_the_thread_that_started_it_ends() -> anyhow::Result<()> {
    let share = Share::new()?;
    let started = thread::scope(|scope| {
        let starter = scope.spawn(|| -> anyhow::Result<_> {
            let device = Device::start(&share, &[])?;
            let front_end = FrontEnd::connect(device.socket())?;
            Ok((device, front_end))
        });
        starter.join()
    });
    let (device, _front_end) = started.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    let status = device.status()?;
    ensure!(status.signal() == Some(libc::SIGKILL), "{status}");
    Ok(())
}

#[test]
fn it_refuses_a_share_that_later_mounts_would_not_reach() -> anyhow::Result<()> {
    let share = Share::new()?;
    let private = MsFlags::MS_PRIVATE;
    mount(
        None::<&str>,
        &share.path(),
        None::<&str>,
        private,
        None::<&str>,
    )?;
    let output = command(&share.path(), &share.beside("sock"))?.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains("--make-shared"),
        "{said}"
    );
    Ok(())
}

#[test]
fn it_refuses_a_descriptor_that_is_no_listener() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kata-mshv-fs"));
    let output = command
        .args(["--listen-fd", "77", "--share", "/"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains("descriptor 77"),
        "{said}"
    );
    Ok(())
}
