//! The folder of a pod: volumes, `/etc/hosts`, logs. kubelet has its own such
//! folders; these are for pods that `kata-mshv run` started.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

/// Where the folders are unless told otherwise.
pub const DEFAULT_FOLDERS: &str = "/var/lib/kata-mshv-vm-isolation/pods";

/// A folder that cannot be made, filled or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FolderError {
    /// What was attempted.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FolderError {
    /// For use with `map_err`.
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// All pods' folders: one folder, in it one per uid.
#[derive(Debug, Clone)]
pub struct Folders(PathBuf);

impl Folders {
    /// Folders below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The folder of the pod with this uid. None for a uid that is not one
    /// plain name: the uid of a pod found on the host is whatever its maker
    /// chose, and what the path leads to gets removed.
    pub(super) fn of(&self, uid: &str) -> Option<PodFolder> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_name = !uid.is_empty() && uid.chars().all(plain);
        is_name.then(|| PodFolder(self.0.join(uid)))
    }
}

/// A pod's folder.
#[derive(Debug, Clone)]
pub(super) struct PodFolder(PathBuf);

impl PodFolder {
    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(super) fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// Makes the folder and a folder for the logs of each container.
    pub(super) fn create<'a>(
        &self,
        containers: impl Iterator<Item = &'a str>,
    ) -> Result<(), FolderError> {
        // Other users have no business in a pod's volumes.
        make(0o700, &self.0)?;
        make(0o755, &self.volumes())?;
        for container in containers {
            make(0o755, &self.logs().join(container))?;
        }
        Ok(())
    }

    /// Unmounts what is mounted in it and removes it. A folder that is not
    /// there is no error.
    pub(super) fn remove(&self) -> Result<(), FolderError> {
        let volumes = match fs::read_dir(self.volumes()) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect(),
            Err(_) => Vec::new(),
        };
        for volume in volumes {
            unmount(&volume)?;
        }
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(FolderError::at("remove", &self.0)),
        }
    }
}

fn make(mode: u32, path: &Path) -> Result<(), FolderError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    made.map_err(FolderError::at("make the folder", path))
}

/// Unmounts a memory volume; a volume on disk is no mount point (EINVAL).
fn unmount(path: &Path) -> Result<(), FolderError> {
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::Error::EINVAL) => Ok(()),
        Err(errno) => Err(FolderError::at("unmount", path)(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_cannot_lead_out_of_the_folder() {
        let folders = Folders::new(Path::new("/pods"));
        for uid in ["", ".", "..", "a/b", "../x", "/", "a\0"] {
            assert!(folders.of(uid).is_none(), "{uid:?}");
        }
        assert_eq!(folders.of("a-1").unwrap().0, Path::new("/pods/a-1"));
    }

    #[test]
    fn what_is_made_is_removed_and_removing_twice_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folders::new(root.path()).of("u").unwrap();
        folder.create(["a", "b"].into_iter()).unwrap();
        assert!(root.path().join("u/logs/b").is_dir());
        fs::create_dir_all(folder.volume("v").join("deep")).unwrap();
        folder.remove().unwrap();
        folder.remove().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
