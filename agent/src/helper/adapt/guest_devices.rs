//! Devices that the guest has, as a container's specification names them.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::loop_devices;

/// libcontainer makes them in every container.
pub(super) const MADE: [&str; 6] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// It puts something else in their place.
const REPLACED: [&str; 2] = ["/dev/console", "/dev/ptmx"];

/// What privileged containers are privileged for, with the modes that udev gives:
/// file systems in user space, the kernel's log, disks in files and what is made
/// of disks, tunnels. No disk: those of the guest are other containers' volumes.
const PRIVILEGED: [(&str, u32); 5] = [
    ("/dev/fuse", 0o666),
    ("/dev/kmsg", 0o644),
    (loop_devices::CONTROL, 0o660),
    ("/dev/mapper/control", 0o600),
    ("/dev/net/tun", 0o666),
];

/// All that are below the guest's `/dev`.
pub(super) fn all() -> Vec<LinuxDevice> {
    below(Path::new("/dev"))
}

/// Those of a container that may use every device.
pub(super) fn privileged() -> Vec<LinuxDevice> {
    let found = |(path, mode): (&str, u32)| {
        let mut device = device(Path::new(path), &fs::metadata(path).ok()?)?;
        device.set_file_mode(Some(mode));
        Some(device)
    };
    let mut devices: Vec<_> = PRIVILEGED.into_iter().filter_map(found).collect();
    devices.extend(loop_devices::all());
    devices
}

/// What cannot be read is not there.
fn below(folder: &Path) -> Vec<LinuxDevice> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| of_entry(&entry)).collect()
}

fn of_entry(entry: &DirEntry) -> Vec<LinuxDevice> {
    let path = entry.path();
    match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => below(&path),
        Ok(_) if is_everywhere(&path) => Vec::new(),
        Ok(metadata) => device(&path, &metadata).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

fn is_everywhere(path: &Path) -> bool {
    let mut everywhere = MADE.iter().chain(&REPLACED);
    everywhere.any(|other| path == Path::new(other))
}

/// The device that `metadata` of a file is about, to be called `path`.
pub(super) fn device(path: &Path, metadata: &Metadata) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let typ = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        _ => return None,
    };
    let mut device = LinuxDevice::default();
    device
        .set_path(path.to_owned())
        .set_typ(typ)
        .set_major(rustix::fs::major(metadata.rdev()).into())
        .set_minor(rustix::fs::minor(metadata.rdev()).into())
        .set_file_mode(Some(metadata.mode() & 0o7777))
        .set_uid(Some(metadata.uid()))
        .set_gid(Some(metadata.gid()));
    Some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_device_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(below(folder.path()), []);
    }

    #[test]
    fn a_device_is_known_by_its_number() {
        let zero = fs::metadata("/dev/zero").unwrap();
        let zero = device(Path::new("/dev/other"), &zero).unwrap();
        assert_eq!((zero.major(), zero.minor()), (1, 5));
        assert_eq!(zero.typ(), LinuxDeviceType::C);
        assert_eq!(zero.path(), Path::new("/dev/other"));
    }

    #[test]
    fn what_every_container_has_is_not_made_twice() {
        assert!(!all().iter().any(|device| is_everywhere(device.path())));
    }
}
