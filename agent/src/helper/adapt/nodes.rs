//! Device nodes that are mounted into a container: where libcontainer makes none,
//! which is outside of `/dev`, and in a user namespace, where it would mount the
//! guest's node of the same name. A node among the container's own files would be
//! one on the host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, Mount};
use protocol::Id;
use rustix::fs::{CWD, FileType, Gid, Mode, Uid};

use super::{AdaptError, mounts};
use crate::container::paths;
use crate::helper::identity;

/// In the guest's root, since there are no devices in `/run`. A folder for each
/// container.
const NODES: &str = "/devices";

/// What containers ask for that do not say.
const MODE: u32 = 0o666;

/// Whose nodes they are to be.
pub(super) struct Owner<'a> {
    pub(super) container: &'a Id,
    /// Whether that is confined to a user namespace, of these ids.
    pub(super) confined: bool,
    pub(super) users: Option<&'a [LinuxIdMapping]>,
    pub(super) groups: Option<&'a [LinuxIdMapping]>,
}

/// Takes out of `devices` those that are to be mounted, makes their nodes, and returns
/// the mounts.
pub(super) fn adapt(
    devices: &mut Vec<LinuxDevice>,
    owner: &Owner<'_>,
) -> Result<Vec<Mount>, AdaptError> {
    let all = std::mem::take(devices);
    let made = |device: &LinuxDevice| !owner.confined && device.path().starts_with("/dev");
    let (made, mounted): (Vec<_>, Vec<_>) = all.into_iter().partition(made);
    *devices = made;
    if mounted.is_empty() {
        return Ok(Vec::new());
    }
    let folder = folder(owner.container).map_err(|source| AdaptError::Nodes {
        path: NODES.into(),
        source,
    })?;
    let nodes = mounted.iter().enumerate();
    nodes
        .map(|(number, device)| {
            let node = folder.join(number.to_string());
            make(&node, device, owner)?;
            Ok(mounts::new(device.path(), "bind", &node, &["bind"]))
        })
        .collect()
}

/// An empty folder for the nodes of `container`. What is left of those that are gone
/// goes with it: their mounts kept the nodes, not the names.
fn folder(container: &Id) -> io::Result<PathBuf> {
    let nodes = Path::new(NODES);
    fs::create_dir_all(nodes)?;
    for left in fs::read_dir(nodes)? {
        let left = left?;
        let gone = |name: &str| Id::new(name).is_ok_and(|id| !paths::bundle(&id).exists());
        if left.file_name().to_str().is_some_and(gone) {
            // Another helper may do the same.
            let _ = fs::remove_dir_all(left.path());
        }
    }
    let own = nodes.join(container.as_str());
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir(&own)?;
    Ok(own)
}

fn make(node: &Path, device: &LinuxDevice, owner: &Owner<'_>) -> Result<(), AdaptError> {
    let inside = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    let outside = |id, map| identity::outside(id, map).ok_or(AdaptError::NotMapped(id));
    let user = outside(inside.0, owner.users)?;
    let group = outside(inside.1, owner.groups)?;
    let made = || -> io::Result<()> {
        let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(MODE) & 0o7777);
        rustix::fs::mknodat(CWD, node, kind(device), mode, number(device)?)?;
        rustix::fs::chown(node, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        // The mode of mknod is subject to the process's mask.
        Ok(rustix::fs::chmod(node, mode)?)
    };
    made().map_err(|source| AdaptError::Nodes {
        path: device.path().clone(),
        source,
    })
}

fn kind(device: &LinuxDevice) -> FileType {
    match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => FileType::CharacterDevice,
    }
}

fn number(device: &LinuxDevice) -> io::Result<u64> {
    let part = |part: i64| u32::try_from(part).map_err(|_| io::ErrorKind::InvalidInput);
    let (major, minor) = (part(device.major())?, part(device.minor())?);
    Ok(rustix::fs::makedev(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_dev_libcontainer_makes_them() {
        let json = r#"[{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5}]"#;
        let mut devices: Vec<LinuxDevice> = serde_json::from_str(json).unwrap();
        let owner = Owner {
            container: &Id::new("c1").unwrap(),
            confined: false,
            users: None,
            groups: None,
        };
        assert_eq!(adapt(&mut devices, &owner).unwrap(), []);
        assert_eq!(devices.len(), 1);
    }

    #[test]
    fn a_number_that_is_none_is_an_error() {
        let mut device = LinuxDevice::default();
        device.set_major(254).set_minor(16);
        assert_eq!(number(&device).unwrap(), rustix::fs::makedev(254, 16));
        device.set_minor(-1);
        assert!(number(&device).is_err());
    }
}
