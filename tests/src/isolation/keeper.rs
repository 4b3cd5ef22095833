//! The process that outlives the bed and leaves nothing of it.

use std::env;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use tempfile::TempDir;

use super::cgroups::Cgroups;
use super::host::Host;
use super::{CALLER, CGROUPS, FOLDER, KEEP, again, code};

pub(super) fn keep() -> Result<ExitCode> {
    // A key pressed at the terminal ends the caller; this one has work left.
    SigSet::all()
        .thread_block()
        .context("block signals in the bed's keeper")?;
    let caller = caller()?;
    let host = Host::look()?;
    let status = live(&caller)?;
    host.compare()?;
    Ok(code(status))
}

/// One life of a bed: its folder and control groups go when this returns.
fn live(caller: &OwnedFd) -> Result<ExitStatus> {
    let folder = folder()?;
    let cgroups = Cgroups::make(&format!("kata-mshv-bed-{}", std::process::id()))?;
    unshare(CloneFlags::CLONE_NEWPID).context("make a PID namespace for the bed")?;
    let mut init = again("init")
        .env(FOLDER, folder.path())
        .env(CGROUPS, cgroups.to_env())
        .spawn()
        .context("start the bed's PID 1")?;
    let status = wait(&mut init, caller)?;
    drop(cgroups);
    remove(folder)?;
    Ok(status)
}

fn folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("kata-mshv-bed.")
        .tempdir()
        .with_context(|| format!("make the bed's folder in {}", env::temp_dir().display()))
}

fn remove(folder: TempDir) -> Result<()> {
    if env::var_os(KEEP).is_some() {
        eprintln!("the bed's folder is kept: {}", folder.keep().display());
        return Ok(());
    }
    let path = folder.path().to_owned();
    folder
        .close()
        .with_context(|| format!("remove the bed's folder {}", path.display()))
}

/// The caller, as a handle that becomes readable when it is gone.
fn caller() -> Result<OwnedFd> {
    let pid = env::var(CALLER).ok().and_then(|pid| pid.parse().ok());
    let pid = pid.and_then(Pid::from_raw).context("no caller is named")?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("the bed's caller is gone")?;
    // Only now can it not have become another process of the same number.
    ensure!(getppid() == Some(pid), "the bed's caller is gone");
    Ok(handle)
}

/// Waits for the bed's PID 1 to end, and ends it when the caller is gone.
fn wait(init: &mut Child, caller: &OwnedFd) -> Result<ExitStatus> {
    let pid = Pid::from_child(init);
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("watch the bed's PID 1")?;
    let mut fds = [&handle, caller].map(|fd| PollFd::new(fd, PollFlags::IN));
    poll(&mut fds, None).context("wait for the bed's PID 1")?;
    let orphaned = fds[0].revents().is_empty();
    if orphaned {
        init.kill().context("kill the bed's PID 1")?;
    }
    let status = init.wait().context("wait for the bed's PID 1")?;
    if orphaned {
        bail!("the bed's caller went away; everything in the bed was killed");
    }
    Ok(status)
}
