//! PID 1 of the bed: arranges the namespaces, then reaps.

use std::process::{Child, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::sethostname;

use super::{CGROUPS, again, cgroups, loopback, mounts};

pub(super) fn be() -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("tie the bed's PID 1 to its keeper")?;
    // The keeper's blocked signals were inherited.
    SigSet::empty()
        .thread_set_mask()
        .context("unblock signals in the bed")?;
    enter_namespaces()?;
    mounts::arrange()?;
    cgroups::delegate()?;
    sethostname("bed").context("name the bed")?;
    loopback::up()?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forward between pods")?;
    let inside = again("inside").spawn().context("start the bed's inside")?;
    reap_until_end_of(&inside)
}

/// The control group comes first: its namespace is rooted where we then are.
fn enter_namespaces() -> Result<()> {
    let groups = env::var_os(CGROUPS).unwrap_or_default();
    cgroups::join(&groups)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .context("make namespaces for the bed")
}

/// Everything orphaned in the bed becomes our child, and a zombie until reaped.
fn reap_until_end_of(inside: &Child) -> Result<ExitCode> {
    let inside = i32::try_from(inside.id()).context("a process id is an i32")?;
    loop {
        let (pid, number) = match wait() {
            Ok(WaitStatus::Exited(pid, number)) => (pid, number),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error).context("reap in the bed"),
        };
        if pid.as_raw() == inside {
            return Ok(ExitCode::from(u8::try_from(number).unwrap_or(1)));
        }
    }
}
