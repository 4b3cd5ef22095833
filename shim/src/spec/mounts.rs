//! The mounts of a container, as the guest can make them.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use protocol::{Id, paths};

use super::SpecError;
use crate::share::Share;

/// Where a mount's content comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// The guest makes it: proc, tmpfs, …
    Guest,
    /// The pod's /dev/shm, which the guest has.
    SharedMemory,
    /// A pseudo file system of the kernel: the guest's own in its place.
    GuestKernel(PathBuf),
    /// A file or folder of the host.
    Host(PathBuf),
}

/// Rewrites `mounts`; host files go into the share for container `id`.
pub(super) fn for_guest(
    mounts: &[Mount],
    id: &Id,
    share: &mut Share,
) -> Result<Vec<Mount>, SpecError> {
    mounts.iter().map(|mount| one(mount, id, share)).collect()
}

fn one(mount: &Mount, id: &Id, share: &mut Share) -> Result<Mount, SpecError> {
    let mut mount = mount.clone();
    match origin(&mount) {
        Origin::Guest => {}
        Origin::SharedMemory => set_bind(&mut mount, Path::new(paths::SHM)),
        Origin::GuestKernel(path) => set_bind(&mut mount, &path),
        Origin::Host(path) => {
            let in_guest = share.add_volume(id.as_str(), &path, has(&mount, "ro"))?;
            set_bind(&mut mount, &in_guest);
        }
    }
    Ok(mount)
}

fn origin(mount: &Mount) -> Origin {
    let is_bind =
        mount.typ().as_deref() == Some("bind") || has(mount, "bind") || has(mount, "rbind");
    let Some(source) = mount.source().as_ref().filter(|_| is_bind) else {
        return Origin::Guest;
    };
    if mount.destination() == Path::new("/dev/shm") {
        return Origin::SharedMemory;
    }
    let of_kernel = ["/proc", "/sys", "/dev"]
        .iter()
        .any(|prefix| source.starts_with(prefix));
    match of_kernel {
        true => Origin::GuestKernel(source.clone()),
        false => Origin::Host(source.clone()),
    }
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options().iter().flatten().any(|o| o == option)
}

fn set_bind(mount: &mut Mount, source: &Path) {
    mount.set_typ(Some("bind".to_owned()));
    mount.set_source(Some(source.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn origin_of(mount: serde_json::Value) -> Origin {
        origin(&serde_json::from_value(mount).unwrap())
    }

    #[test]
    fn origins() {
        assert_eq!(
            origin_of(json!({"destination": "/proc", "type": "proc", "source": "proc"})),
            Origin::Guest
        );
        assert_eq!(
            origin_of(json!({
                "destination": "/dev/shm", "type": "bind",
                "source": "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/s/shm"
            })),
            Origin::SharedMemory
        );
        assert_eq!(
            origin_of(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"})),
            Origin::Guest
        );
        assert_eq!(
            origin_of(json!({
                "destination": "/etc/hosts", "source": "/var/lib/x/hosts", "options": ["rbind"]
            })),
            Origin::Host("/var/lib/x/hosts".into())
        );
        assert_eq!(
            origin_of(json!({
                "destination": "/cg", "type": "bind", "source": "/sys/fs/cgroup"
            })),
            Origin::GuestKernel("/sys/fs/cgroup".into())
        );
    }
}
