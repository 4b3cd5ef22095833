//! The second process of a case: another user, or another holder of a lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use crate::SHARE;

/// A user without privileges.
pub(crate) const USER: u32 = 1000;

/// What the second process tries on the file that it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Read,
    Write,
    Create,
    Flock,
    RecordLock,
    SendToFifo,
    Nothing,
}

const ROLES: &[(&str, Role)] = &[
    ("read", Role::Read),
    ("write", Role::Write),
    ("create", Role::Create),
    ("flock", Role::Flock),
    ("record-lock", Role::RecordLock),
    ("send-to-fifo", Role::SendToFifo),
    ("nothing", Role::Nothing),
];

pub(crate) fn command(role: Role, file: &str, user: u32) -> anyhow::Result<Command> {
    let (name, _) = ROLES
        .iter()
        .find(|(_, known)| std::mem::discriminant(known) == std::mem::discriminant(&role))
        .context("no name for the role")?;
    let mut command = Command::new("/init");
    command.arg(name).arg(format!("{SHARE}/{file}"));
    command.uid(user).gid(user);
    Ok(command)
}

pub(crate) fn succeeds(role: Role, file: &str, user: u32) -> anyhow::Result<()> {
    let status = command(role, file, user)?.status()?;
    ensure!(status.success(), "{role:?} of {file} by {user} failed");
    Ok(())
}

pub(crate) fn fails(role: Role, file: &str, user: u32) -> anyhow::Result<()> {
    let status = command(role, file, user)?.status()?;
    ensure!(!status.success(), "{role:?} of {file} by {user} succeeded");
    Ok(())
}

/// Plays the role named on the command line; the exit status tells how it went.
pub(crate) fn play() -> i32 {
    let mut arguments = std::env::args().skip(1);
    let (role, file) = (arguments.next(), arguments.next().unwrap_or_default());
    let role = ROLES
        .iter()
        .find(|(name, _)| Some(*name) == role.as_deref());
    match role.map(|(_, role)| act(*role, &file)) {
        Some(Ok(())) => 0,
        Some(Err(_)) => 1,
        None => 2,
    }
}

fn act(role: Role, file: &str) -> io::Result<()> {
    match role {
        Role::Read => File::open(file)?.read_to_end(&mut Vec::new()).map(drop),
        Role::Write => OpenOptions::new().append(true).open(file)?.write_all(b"y"),
        Role::Create => OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(file)
            .map(drop),
        Role::Flock => Flock::lock(File::open(file)?, FlockArg::LockExclusiveNonblock)
            .map(drop)
            .map_err(|(_, errno)| errno.into()),
        Role::RecordLock => {
            let file = OpenOptions::new().write(true).open(file)?;
            fcntl(&file, FcntlArg::F_SETLK(&record_lock(libc::F_WRLCK)?))?;
            Ok(())
        }
        Role::SendToFifo => OpenOptions::new()
            .write(true)
            .open(file)?
            .write_all(b"through"),
        Role::Nothing => Ok(()),
    }
}

/// A lock, or with F_UNLCK its end, on the bytes from 10 to 19.
pub(crate) fn record_lock(kind: i32) -> io::Result<libc::flock> {
    let short = |value| libc::c_short::try_from(value).map_err(io::Error::other);
    Ok(libc::flock {
        l_type: short(kind)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: 10,
        l_len: 10,
        l_pid: 0,
    })
}
