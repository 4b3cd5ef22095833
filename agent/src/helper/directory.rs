//! A container's working directory, made when the image lacks it, as runc does:
//! `WORKDIR` of an image need not be in any of its layers, and `workingDir` of
//! a container need not be in the image.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;

/// What a user may lack for it.
pub(super) const NEEDED: [Capability; 3] = [
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_DAC_OVERRIDE,
];

const MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes what is missing of `path`, seen from the root of this process: each new
/// directory is root's, and open to everybody. Gives up [`NEEDED`] for good.
pub(super) fn make_and_drop(path: &Path) -> Result<io::Result<()>, CapsError> {
    let effective = caps::read(None, CapSet::Effective)?;
    let made = match path.is_dir() {
        true => Ok(()),
        false => as_root(|| make(path)),
    };
    // A file system's user that is root's no more takes its capabilities along.
    let rest: CapsHashSet = effective
        .into_iter()
        .filter(|capability| !NEEDED.contains(capability))
        .collect();
    caps::set(None, CapSet::Effective, &rest)?;
    Ok(made)
}

/// Runs `action` as root towards file systems. Capabilities alone would do for
/// those of the guest; the host's decides by the user that a request comes from.
fn as_root<T>(action: impl FnOnce() -> T) -> T {
    let group = setfsgid(Gid::from_raw(0));
    let user = setfsuid(Uid::from_raw(0));
    let done = action();
    setfsuid(user);
    setfsgid(group);
    done
}

fn make(path: &Path) -> io::Result<()> {
    let mut at = open(&CWD, OsStr::new("/"), OFlags::PATH)?;
    for component in path.components() {
        at = match component {
            Component::Normal(name) => enter(&at, name)?,
            Component::ParentDir => open(&at, OsStr::new(".."), OFlags::PATH)?,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => at,
        };
    }
    Ok(())
}

fn enter(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match open(at, name, OFlags::PATH) {
        Err(Errno::NOENT) => create(at, name),
        other => Ok(other?),
    }
}

/// By descriptor: a neighbour that shares the volume could put a link in the
/// new directory's place meanwhile.
fn create(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    mkdirat(at, name, MODE)?;
    let made = open(at, name, OFlags::RDONLY | OFlags::NOFOLLOW)?;
    // The mode of mkdir is subject to the process's mask.
    fchmod(&made, MODE)?;
    Ok(made)
}

fn open(at: &impl rustix::fd::AsFd, name: &OsStr, how: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_missing_is_made_and_the_rest_left() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        std::fs::create_dir(&there).unwrap();
        std::fs::set_permissions(&there, PermissionsExt::from_mode(0o700)).unwrap();
        let new = there.join("a/../b/c");
        make(&new).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&there), 0o700);
        assert_eq!(mode(&there.join("b/c")), 0o755);
        make(&new).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = make(&file.join("below")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
