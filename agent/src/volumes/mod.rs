//! Volumes that are in the guest's memory, each a file system of its own below
//! [`paths::VOLUMES`]. They come with the first container that has them and stay
//! until the guest ends, so that containers find in them what others before them
//! have left.

mod copied;
mod memory;

use std::ffi::CString;
use std::io;
use std::path::{Component, Path, PathBuf};

use protocol::agent::{CopiedVolume, MemoryVolume, Owner};
use protocol::{Code, paths};
use rustix::mount::{MountFlags, mount};
use tokio::sync::Mutex;

/// A volume could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{0:?} cannot be a volume's name")]
    Name(String),
    #[error("make a file system in memory for the volume {}", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make the volume {} what {} is", path.display(), revision.display())]
    Copy {
        path: PathBuf,
        revision: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("find or make the folder {folder:?} in the volume {}", path.display())]
    Folder {
        path: PathBuf,
        folder: String,
        #[source]
        source: io::Error,
    },
    #[error("the request was lost")]
    Lost,
}

impl VolumeError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Name(_) => Code::InvalidArgument,
            Self::Folder { .. } => Code::FailedPrecondition,
            Self::Make { .. } | Self::Copy { .. } | Self::Lost => Code::Internal,
        }
    }
}

/// One change at a time.
#[derive(Default)]
pub(crate) struct Volumes(Mutex<()>);

impl Volumes {
    /// Has those be there that a container is to have.
    pub(crate) async fn provide(
        &self,
        copied: Vec<CopiedVolume>,
        memory: Vec<MemoryVolume>,
    ) -> Result<(), VolumeError> {
        if copied.is_empty() && memory.is_empty() {
            return Ok(());
        }
        let _turn = self.0.lock().await;
        blocking(move || provide(&copied, &memory)).await
    }

    /// Makes a copied volume what the share has at another revision. One that no
    /// container has had yet comes with the first.
    pub(crate) async fn refresh(&self, volume: CopiedVolume) -> Result<(), VolumeError> {
        let _turn = self.0.lock().await;
        blocking(move || match place(&volume.name)? {
            root if root.exists() => copied::refresh(&root, &volume),
            _ => Ok(()),
        })
        .await
    }
}

/// The share is read: the event loop must not wait for the host.
async fn blocking(
    work: impl FnOnce() -> Result<(), VolumeError> + Send + 'static,
) -> Result<(), VolumeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(VolumeError::Lost))
}

fn provide(copied: &[CopiedVolume], memory: &[MemoryVolume]) -> Result<(), VolumeError> {
    for volume in copied {
        let root = place(&volume.name)?;
        make(&root, "tmpfs", &[])?;
        copied::refresh(&root, volume)?;
    }
    for volume in memory {
        let root = place(&volume.name)?;
        if make(&root, memory::kind(volume), &memory::options(volume))? {
            memory::own_root(&root, volume)?;
        }
        memory::bind_folder(&root, volume)?;
    }
    Ok(())
}

/// Where the volume `name` is.
fn place(name: &str) -> Result<PathBuf, VolumeError> {
    one_component(name)
        .then(|| Path::new(paths::VOLUMES).join(name))
        .ok_or_else(|| VolumeError::Name(name.to_owned()))
}

fn one_component(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(part)) if part == name) && parts.next().is_none()
}

/// Mounts a file system in memory on `root`, unless there is one; whether it did.
fn make(root: &Path, kind: &str, options: &[String]) -> Result<bool, VolumeError> {
    if root.exists() {
        return Ok(false);
    }
    let steps = || -> io::Result<()> {
        std::fs::create_dir_all(root)?;
        let options = CString::new(options.join(","))?;
        // As kubelet mounts its own: programs in a volume may be run.
        let mounted = mount(kind, root, kind, MountFlags::empty(), &*options);
        mounted.or_else(|error| std::fs::remove_dir(root).and(Err(error.into())))
    };
    steps().map_err(failed_to_make(root)).map(|()| true)
}

fn failed_to_make(root: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = root.to_owned();
    move |source| VolumeError::Make { path, source }
}

/// Whose `path` is, and who may what with it.
fn own(path: &Path, owner: &Owner) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, lchown};
    lchown(path, Some(owner.uid), Some(owner.gid))?;
    // After the owner, whose change takes set-group-ID away.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(owner.mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_where_its_name_says_and_nowhere_else() {
        let place = |name| place(name).ok();
        assert_eq!(place("a-1"), Some(PathBuf::from("/run/volumes/a-1")));
        for name in ["", ".", "..", "a/b", "/a", "a/"] {
            assert_eq!(place(name), None, "{name:?}");
        }
    }
}
