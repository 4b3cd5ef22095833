//! Mounts of the guest's `/dev` on a container's, where libcontainer makes nodes
//! and links of its own. It cannot where they are already, and must not in the
//! guest's.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, Mount};
use protocol::paths;

use super::guest_devices::{self, MADE};
use super::mounts::{self, is_bind};

const DEV: &str = "/dev";

/// What a container's `/dev` is made of, as container engines mount it: where,
/// kind, source, options.
const FILE_SYSTEMS: [(&str, &str, &str, &[&str]); 4] = [
    (
        DEV,
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ),
    ("/dev/shm", "bind", paths::SHM, &["rbind"]),
];

/// Rewrites `mounts` and `devices` for a container that is, or is not, `confined` to
/// a user namespace.
pub(super) fn adapt(mounts: &mut Vec<Mount>, devices: &mut Vec<LinuxDevice>, confined: bool) {
    let is_guests = |mount: &Mount| {
        let source = mount.source().as_deref();
        is_bind(mount)
            && mount.destination() == Path::new(DEV)
            && source.is_some_and(|source| source == Path::new(DEV))
    };
    if let Some(at) = mounts.iter().position(is_guests) {
        let own = own(mounts);
        mounts.splice(at..=at, own);
        if !confined {
            // The guest's root's: of no use in a user namespace.
            devices.extend(guest_devices::all());
        }
    }
    if !confined {
        // In a user namespace they are mounted, over what is there.
        replace_made(mounts, devices);
    }
}

/// A `/dev` that is the container's own, with what containers have below theirs
/// unless one of `mounts` is there.
fn own(mounts: &[Mount]) -> Vec<Mount> {
    let there = |path: &str| mounts.iter().any(|m| m.destination() == Path::new(path));
    let wanted = |(path, ..): &(&str, _, _, _)| *path == DEV || !there(path);
    let systems = FILE_SYSTEMS.into_iter().filter(wanted);
    systems
        .map(|(path, kind, source, options)| {
            mounts::new(Path::new(path), kind, Path::new(source), options)
        })
        .collect()
}

/// Has the nodes that are mounted in place of those that every container has
/// (`/dev/urandom` on `/dev/random`) made instead.
fn replace_made(mounts: &mut Vec<Mount>, devices: &mut Vec<LinuxDevice>) {
    mounts.retain(|mount| {
        let made = made(mount);
        let replaced = made.is_some();
        // Before others of that path.
        devices.splice(..0, made);
        !replaced
    });
}

fn made(mount: &Mount) -> Option<LinuxDevice> {
    let path = mount.destination();
    let made = MADE.iter().any(|made| path == Path::new(made));
    let source = mount.source().as_ref().filter(|_| made && is_bind(mount))?;
    let node = fs::metadata(source).ok()?;
    let is_node = node.file_type().is_char_device();
    is_node.then(|| guest_devices::device(path, &node))?
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn adapted(mounts: Value) -> (Vec<Mount>, Vec<LinuxDevice>) {
        let mut mounts = serde_json::from_value(mounts).unwrap();
        let mut devices = Vec::new();
        adapt(&mut mounts, &mut devices, false);
        (mounts, devices)
    }

    #[test]
    fn the_guests_dev_becomes_one_of_the_containers_own() {
        let (mounts, _) = adapted(json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"]},
            {"destination": "/dev/shm", "type": "bind", "source": "/run/share/big"}
        ]));
        let found = mounts.iter().map(|m| {
            (
                m.destination().to_str().unwrap(),
                m.typ().as_deref().unwrap(),
            )
        });
        let expected = [
            ("/proc", "proc"),
            ("/dev", "tmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/mqueue", "mqueue"),
            ("/dev/shm", "bind"),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn elsewhere_it_is_the_guests() {
        let host = json!([{"destination": "/host/dev", "type": "bind", "source": "/dev"}]);
        let (mounts, devices) = adapted(host.clone());
        assert_eq!(serde_json::to_value(&mounts).unwrap(), host);
        assert_eq!(devices, []);
    }

    #[test]
    fn a_node_in_place_of_another_is_made_so() {
        let (mounts, devices) = adapted(json!([
            {"destination": "/dev/random", "type": "bind", "source": "/dev/urandom"}
        ]));
        assert_eq!(mounts, []);
        assert_eq!(devices[0].path(), Path::new("/dev/random"));
        assert_eq!((devices[0].major(), devices[0].minor()), (1, 9));
    }
}
