//! Volumes that are in the guest's memory alone (emptyDir of medium Memory, or
//! HugePages), and folders of them that a container has for its own (subPath).

use std::io;
use std::path::{Component, Path};

use protocol::agent::{MemoryVolume, Owner};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::{VolumeError, failed_to_make, own, place};

/// The kind of its file system.
pub(super) fn kind(volume: &MemoryVolume) -> &'static str {
    match volume.page_size {
        0 => "tmpfs",
        _ => "hugetlbfs",
    }
}

/// tmpfs(5), Documentation/admin-guide/mm/hugetlbpage.rst.
pub(super) fn options(volume: &MemoryVolume) -> Vec<String> {
    let Owner { uid, gid, mode, .. } = volume.owner.get_or_default();
    let owner = [
        format!("uid={uid}"),
        format!("gid={gid}"),
        format!("mode={:o}", mode & 0o7777),
    ];
    let memory = total_memory();
    let size = match volume.page_size {
        0 => vec![format!("size={}", size(volume.size, memory))],
        page => {
            // Without a size it has what there is.
            let limited = (1..memory).contains(&volume.size);
            let size = limited.then(|| format!("size={}", volume.size));
            [format!("pagesize={page}")]
                .into_iter()
                .chain(size)
                .collect()
        }
    };
    size.into_iter().chain(owner).collect()
}

/// Of the options for it, hugetlbfs heeds not all: set-group-ID (`fsGroup`) it drops.
pub(super) fn own_root(root: &Path, volume: &MemoryVolume) -> Result<(), VolumeError> {
    own(root, volume.owner.get_or_default()).map_err(failed_to_make(root))
}

/// The size that was asked for, in a guest of `memory` bytes. A larger one than
/// that was not meant for this pod (without a limit it is the node's memory, or
/// half of it): half of the guest's, which is what tmpfs takes by itself.
fn size(wanted: u64, memory: u64) -> u64 {
    match wanted < memory {
        true => wanted,
        false => memory / 2,
    }
}

fn total_memory() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(system.mem_unit.into())
}

/// Mounts the folder of `volume`, which is at `root`, where a container will have
/// it from; nothing if it has none.
///
/// Containers write to the volume while this looks for a folder in it: no link is
/// followed, and what is mounted is what was found, whatever its name leads to by
/// then.
pub(super) fn bind_folder(root: &Path, volume: &MemoryVolume) -> Result<(), VolumeError> {
    if volume.folder.is_empty() {
        return Ok(());
    }
    let point = place(&volume.folder_name)?;
    let owner = volume.folder_owner.get_or_default();
    let steps = || -> io::Result<()> {
        let found = find_or_make(root, &volume.folder, owner)?;
        // The folder of before may have been removed since.
        if unmount(&point, UnmountFlags::DETACH).is_err() {
            mount_point(&point, &found)?;
        }
        let found = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(mount_bind(found.as_str(), &point)?)
    };
    steps().map_err(|source| VolumeError::Folder {
        path: root.to_owned(),
        folder: volume.folder.clone(),
        source,
    })
}

/// A folder for folders, a file for files.
fn mount_point(point: &Path, found: &OwnedFd) -> io::Result<()> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode);
    match kind {
        rustix::fs::FileType::Directory => std::fs::create_dir_all(point),
        _ => std::fs::File::create(point).map(drop),
    }
}

/// Walks from `root` to `folder`; what is missing on the way is made, and given to
/// `owner`.
fn find_or_make(root: &Path, folder: &str, owner: &Owner) -> io::Result<OwnedFd> {
    let path = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut at = openat(CWD, root, path | OFlags::DIRECTORY, Mode::empty())?;
    for part in Path::new(folder).components() {
        let Component::Normal(name) = part else {
            return Err(Errno::INVAL.into());
        };
        match mkdirat(&at, name, Mode::RWXU) {
            Ok(()) => own_at(&at, name.as_ref(), owner)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = openat(&at, name, path, Mode::empty())?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode);
        if kind == rustix::fs::FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
    }
    Ok(at)
}

fn own_at(folder: &OwnedFd, name: &Path, owner: &Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(folder.as_fd(), name, Some(uid), Some(gid), flags)?;
    let mode = Mode::from_raw_mode(owner.mode & 0o7777);
    Ok(chmodat(folder.as_fd(), name, mode, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn ours(mode: u32) -> Owner {
        Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode,
            ..Default::default()
        }
    }

    #[test]
    fn a_missing_folder_is_made_and_an_old_one_kept() {
        let root = tempfile::tempdir().unwrap();
        find_or_make(root.path(), "a/b", &ours(0o2750)).unwrap();
        let made = fs::metadata(root.path().join("a/b")).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o2750);
        find_or_make(root.path(), "a", &ours(0o700)).unwrap();
        let kept = fs::metadata(root.path().join("a")).unwrap();
        assert_eq!(kept.mode() & 0o7777, 0o2750);
    }

    #[test]
    fn a_file_is_found() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "x").unwrap();
        let found = find_or_make(root.path(), "file", &ours(0o755)).unwrap();
        assert_eq!(rustix::fs::fstat(found).unwrap().st_size, 1);
    }

    #[test]
    fn no_link_leads_out() {
        let root = tempfile::tempdir().unwrap();
        symlink("/", root.path().join("out")).unwrap();
        for folder in ["out", "out/etc", "../x", "/etc", "a/../.."] {
            assert!(
                find_or_make(root.path(), folder, &ours(0o755)).is_err(),
                "{folder}"
            );
        }
    }

    #[test]
    fn a_size_beyond_the_guests_memory_is_nobodys_wish() {
        assert_eq!(size(64 << 20, 2 << 30), 64 << 20);
        assert_eq!(size(1 << 40, 2 << 30), 1 << 30);
    }

    #[test]
    fn huge_pages_are_as_many_as_there_are_unless_it_says() {
        let of = |size| {
            let volume = MemoryVolume {
                size,
                page_size: 2 << 20,
                ..Default::default()
            };
            (kind(&volume), options(&volume)[..2].join(","))
        };
        assert_eq!(of(0), ("hugetlbfs", "pagesize=2097152,uid=0".to_owned()));
        assert_eq!(of(u64::MAX), of(0));
        assert_eq!(of(4 << 20).1, "pagesize=2097152,size=4194304");
    }

    #[test]
    fn size_and_owner_are_the_volumes() {
        let volume = MemoryVolume {
            size: 1 << 20,
            owner: Some(ours(0o2777)).into(),
            ..Default::default()
        };
        let options = options(&volume);
        assert!(options.contains(&"size=1048576".to_owned()));
        assert!(options.contains(&"mode=2777".to_owned()));
    }
}
