//! File systems of the pod.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use protocol::paths;
use rustix::mount::{MountFlags, mount};

/// `/dev/shm` of a pod that does not say, as container engines have it.
const DEFAULT_SHM: u64 = 64 << 20;

/// A file system could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("mount {what} on {target:?}")]
pub(crate) struct MountError {
    what: &'static str,
    target: PathBuf,
    source: io::Error,
}

/// Mounts the pod's shared memory of `size` bytes (0: the default), which belongs
/// to user `uid` and group `gid`.
pub(super) fn shared_memory(size: u64, (uid, gid): (u32, u32)) -> Result<(), MountError> {
    let size = if size == 0 { DEFAULT_SHM } else { size };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = format!("mode=1777,size={size},uid={uid},gid={gid}");
    mount_at(
        "the pod's shared memory",
        "shm",
        paths::SHM,
        "tmpfs",
        flags,
        &options,
    )
}

/// Mounts the pod's virtio-fs share. Without restrictions: containers' roots
/// are bind-mounted from it and would inherit them.
pub(super) fn share(tag: &str) -> Result<(), MountError> {
    mount_at(
        "the pod's share",
        tag,
        paths::SHARE,
        "virtiofs",
        MountFlags::empty(),
        "",
    )
}

fn mount_at(
    what: &'static str,
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), MountError> {
    let steps = || -> io::Result<()> {
        std::fs::create_dir_all(target)?;
        let options = CString::new(options)?;
        Ok(mount(source, target, kind, flags, options.as_c_str())?)
    };
    steps().map_err(|source| MountError {
        what,
        target: target.into(),
        source,
    })
}
