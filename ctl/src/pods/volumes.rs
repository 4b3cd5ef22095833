//! Volumes, made before the pod starts.

use std::fs::{self, DirBuilder, FileType, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::manifest::to_cri::VolumePaths;
use crate::manifest::{EmptyDir, HostPath, HostPathKind, Medium, Pod, Quantity, Volume};

use super::folder::{FolderError, PodFolder};

/// Makes the pod's volumes and says where they are.
pub(super) fn prepare(pod: &Pod, folder: &PodFolder) -> Result<VolumePaths, FolderError> {
    let volumes = pod.spec.volumes.iter();
    volumes
        .map(|volume| Ok((volume.name.clone(), prepare_one(pod, volume, folder)?)))
        .collect()
}

fn prepare_one(pod: &Pod, volume: &Volume, folder: &PodFolder) -> Result<String, FolderError> {
    if let Some(host) = &volume.host_path {
        check_host_path(host)?;
        return Ok(host.path.clone());
    }
    let path = folder.volume(&volume.name);
    let empty = volume.empty_dir.clone().unwrap_or_default();
    make_empty(&path, &empty, pod)?;
    Ok(path.to_string_lossy().into_owned())
}

fn make_empty(path: &Path, empty: &EmptyDir, pod: &Pod) -> Result<(), FolderError> {
    fs::create_dir(path).map_err(FolderError::at("make the volume", path))?;
    if empty.medium == Medium::Memory {
        mount_tmpfs(path, empty.size_limit)?;
    }
    let group = pod.spec.security_context.fs_group;
    chown(path, None, group).map_err(FolderError::at("give to fsGroup", path))?;
    // Any user of the pod may write; new files belong to fsGroup.
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    let permissions = Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(FolderError::at("open up", path))
}

/// A tmpfs of the size that was asked for, else of the kernel's default, half
/// of the host's memory.
fn mount_tmpfs(path: &Path, size: Option<Quantity>) -> Result<(), FolderError> {
    let size = size.map(|size| format!("size={}", size.value()));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, size.as_deref())
        .map_err(|errno| FolderError::at("mount a tmpfs at", path)(errno.into()))
}

/// Makes sure that what the manifest expects is at a path of the host.
fn check_host_path(host: &HostPath) -> Result<(), FolderError> {
    let path = Path::new(&host.path);
    let missing = !path.exists();
    match host.kind {
        HostPathKind::DirectoryOrCreate if missing => {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(FolderError::at("make the folder", path))
        }
        HostPathKind::FileOrCreate if missing => {
            fs::write(path, "").map_err(FolderError::at("make the file", path))
        }
        HostPathKind::Unchecked => Ok(()),
        kind => check_kind(path, kind).map_err(FolderError::at("use the hostPath", path)),
    }
}

fn check_kind(path: &Path, kind: HostPathKind) -> io::Result<()> {
    let found = fs::metadata(path)?.file_type();
    let (fits, wanted): (fn(&FileType) -> bool, _) = match kind {
        HostPathKind::Directory | HostPathKind::DirectoryOrCreate => (FileType::is_dir, "a folder"),
        HostPathKind::File | HostPathKind::FileOrCreate => (FileType::is_file, "a file"),
        HostPathKind::Socket => (FileType::is_socket, "a UNIX socket"),
        HostPathKind::CharDevice => (FileType::is_char_device, "a character device"),
        HostPathKind::BlockDevice => (FileType::is_block_device, "a block device"),
        HostPathKind::Unchecked => return Ok(()),
    };
    match fits(&found) {
        true => Ok(()),
        false => Err(io::Error::other(format!("it is not {wanted}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(path: &Path, kind: HostPathKind) -> Result<(), FolderError> {
        let path = path.to_string_lossy().into_owned();
        check_host_path(&HostPath { path, kind })
    }

    #[test]
    fn a_host_path_is_what_the_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let deep = folder.path().join("a/b");
        assert!(host(&file, HostPathKind::File).is_err());
        assert!(host(&file, HostPathKind::FileOrCreate).is_ok());
        assert!(host(&file, HostPathKind::File).is_ok());
        assert!(host(&file, HostPathKind::DirectoryOrCreate).is_err());
        assert!(host(&deep, HostPathKind::DirectoryOrCreate).is_ok());
        assert!(host(&deep, HostPathKind::Directory).is_ok());
        assert!(host(&deep, HostPathKind::Socket).is_err());
        assert!(host(Path::new("/dev/null"), HostPathKind::CharDevice).is_ok());
        assert!(host(Path::new("/nonexistent"), HostPathKind::Unchecked).is_ok());
    }
}
