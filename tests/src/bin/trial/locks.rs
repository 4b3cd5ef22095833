//! The three kinds of advisory locks: flock(2), those of a process and those of
//! an open file (fcntl(2)).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Of which kind a lock is.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    /// flock(2).
    Flock,
    /// `F_SETLK`.
    Process,
    /// `F_OFD_SETLK`.
    OpenFile,
}

/// Takes the lock of all of `path`, if nobody holds it.
pub(crate) fn attempt(kind: Kind, path: &Path) -> Result<()> {
    let file = open(path)?;
    match take(kind, &file) {
        Ok(()) => println!("locked"),
        Err(Errno::EAGAIN | Errno::EACCES) => println!("held"),
        Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
    }
    Ok(())
}

/// As [`attempt`], and keeps it until standard input ends.
pub(crate) fn hold(kind: Kind, path: &Path) -> Result<()> {
    let file = open(path)?;
    take(kind, &file).with_context(|| format!("lock {}", path.display()))?;
    println!("locked");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn take(kind: Kind, file: &File) -> nix::Result<()> {
    let whole = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_WRLCK).unwrap_or_default(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match kind {
        Kind::Flock => file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => Errno::EAGAIN,
            std::fs::TryLockError::Error(error) => {
                error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
            }
        }),
        Kind::Process => fcntl(file, FcntlArg::F_SETLK(&whole)).map(drop),
        Kind::OpenFile => fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).map(drop),
    }
}
