//! Locks between two processes of the guest.

use std::fs::{self, File};

use anyhow::ensure;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use crate::console::Console;
use crate::second::{self, Role, record_lock};
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[("flock", whole), ("record locks", record)];

fn file(name: &str) -> anyhow::Result<File> {
    let path = format!("{SHARE}/{name}");
    fs::write(&path, [0; 64])?;
    Ok(File::options().read(true).write(true).open(path)?)
}

fn whole(_: &mut Console) -> anyhow::Result<()> {
    let held = Flock::lock(file("flock")?, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    second::fails(Role::Flock, "flock", 0)?;
    drop(held);
    second::succeeds(Role::Flock, "flock", 0)
}

fn record(_: &mut Console) -> anyhow::Result<()> {
    let file = file("record")?;
    fcntl(&file, FcntlArg::F_SETLK(&record_lock(libc::F_WRLCK)?))?;
    second::fails(Role::RecordLock, "record", 0)?;
    fcntl(&file, FcntlArg::F_SETLK(&record_lock(libc::F_UNLCK)?))?;
    ensure!(file.metadata()?.len() == 64);
    second::succeeds(Role::RecordLock, "record", 0)
}
