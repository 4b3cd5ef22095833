//! The mounts of a container, as the guest can make them.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use protocol::{Id, paths};

use super::kubelet::{self, Volume as Kubelets};
use super::{GuestVolumes, SpecError};
use crate::ids::IdMap;
use crate::share::{Access, MOST_BELOW, Share, Volume, writable_below};

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
) -> Result<(Vec<Mount>, GuestVolumes), SpecError> {
    let mut rewritten = Vec::with_capacity(mounts.len());
    let mut volumes = GuestVolumes::default();
    for mount in mounts {
        let origin = origin(mount);
        let mut mount = mount.clone();
        match origin {
            Origin::Guest => {}
            Origin::SharedMemory => set_bind(&mut mount, Path::new(paths::SHM)),
            Origin::GuestKernel(path) => set_bind(&mut mount, &path),
            Origin::Host(path) => match in_guest(&mount, &path, &mut volumes, share)? {
                Some(in_guest) => set_bind(&mut mount, &in_guest),
                None => {
                    rewritten.extend(of_host(mount, &path, id, share)?);
                    continue;
                }
            },
        }
        rewritten.push(mount);
    }
    Ok((rewritten, volumes))
}

/// The guest's path of the volume at `source`, if that is one which the guest
/// has in its own memory.
fn in_guest(
    mount: &Mount,
    source: &Path,
    volumes: &mut GuestVolumes,
    share: &mut Share,
) -> Result<Option<PathBuf>, SpecError> {
    let read_only = access(mount) != Access::Writable;
    let kind = kubelet::volume(source, read_only).map_err(|error| SpecError::Volume {
        path: source.to_owned(),
        source: error,
    })?;
    match kind {
        Kubelets::Plain => Ok(None),
        Kubelets::Written => volumes
            .add_written(source, ids(mount).as_ref(), share)
            .map(Some),
        Kubelets::Memory {
            volume,
            folder,
            huge,
        } => volumes
            .add_memory(source, &volume, &folder, huge, ids(mount).as_ref(), share)
            .map(Some),
    }
}

/// The volume's mount, and those below it that are not read-only with it.
fn of_host(
    mut mount: Mount,
    source: &Path,
    id: &Id,
    share: &mut Share,
) -> Result<Vec<Mount>, SpecError> {
    if has(&mount, "shared") || has(&mount, "rshared") {
        let destination = mount.destination().clone();
        return Err(SpecError::Bidirectional { destination });
    }
    let access = match access(&mount) {
        // So that all containers have the same one; the guest keeps this one from it.
        Access::ReadOnly if kubelet::is_empty_dir(source) => Access::Writable,
        access => access,
    };
    let ids = ids(&mount);
    let volume = Volume {
        source,
        access,
        follows: !has(&mount, "private") && !has(&mount, "rprivate"),
        ids: ids.as_ref(),
    };
    let in_guest = share.add_volume(id.as_str(), volume)?;
    set_bind(&mut mount, &in_guest);
    let below = match volume.access {
        Access::ReadOnly => below(source, &in_guest, &mount, share.root())?,
        Access::Writable | Access::AllReadOnly => Vec::new(),
    };
    Ok([mount].into_iter().chain(below).collect())
}

/// Whose its files are, in a pod with a user namespace.
fn ids(mount: &Mount) -> Option<IdMap> {
    IdMap::of(mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref())
}

fn access(mount: &Mount) -> Access {
    match (has(mount, "rro"), has(mount, "ro")) {
        (true, _) => Access::AllReadOnly,
        (false, true) => Access::ReadOnly,
        (false, false) => Access::Writable,
    }
}

/// Mounts below the read-only `mount` of `source`, which `in_guest` is; not
/// those of the pod's own `share`, in a volume that holds even that.
fn below(
    source: &Path,
    in_guest: &Path,
    mount: &Mount,
    share: &Path,
) -> Result<Vec<Mount>, SpecError> {
    let mut found = writable_below(source).map_err(|error| SpecError::Below {
        path: source.to_owned(),
        source: error,
    })?;
    found.retain(|below| !source.join(below).starts_with(share));
    if found.len() > MOST_BELOW {
        tracing::warn!(volume = ?source, "too much is mounted below it: it is all read-only");
        return Ok(Vec::new());
    }
    let writable = |below: &PathBuf| {
        let mut copy = mount.clone();
        let read_only = |option: &String| option == "ro";
        let options = mount.options().iter().flatten();
        copy.set_destination(mount.destination().join(below))
            .set_source(Some(in_guest.join(below)))
            .set_options(Some(options.filter(|o| !read_only(o)).cloned().collect()));
        copy
    };
    // What another mount hides is not there to be mounted.
    let visible = found.iter().filter(|below| source.join(below).exists());
    Ok(visible.map(writable).collect())
}

fn origin(mount: &Mount) -> Origin {
    let is_bind =
        mount.typ().as_deref() == Some("bind") || has(mount, "bind") || has(mount, "rbind");
    let Some(source) = mount.source().as_ref().filter(|_| is_bind) else {
        return Origin::Guest;
    };
    if mount.destination() == Path::new("/dev/shm") && is_shared_memory(source) {
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

/// What runtimes make for a pod, or the host's own (`hostIPC`); not a volume that
/// the pod has there.
fn is_shared_memory(source: &Path) -> bool {
    source.ends_with("shm") && !kubelet::is_volume(source)
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options().iter().flatten().any(|o| o == option)
}

/// What it is bound from has the pod's ids already, whichever way that was asked for.
fn set_bind(mount: &mut Mount, source: &Path) {
    mount.set_uid_mappings(None).set_gid_mappings(None);
    if let Some(options) = mount.options_mut() {
        options.retain(|option| option != "idmap" && option != "ridmap");
    }
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
    fn ids_that_are_mapped_on_the_host_are_not_mapped_again() {
        let mut mount: Mount = serde_json::from_value(json!({
            "destination": "/data", "source": "/srv", "options": ["rbind", "idmap", "ro", "ridmap"],
            "uidMappings": [{"containerID": 0, "hostID": 65536, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 65536, "size": 65536}]
        }))
        .unwrap();
        set_bind(&mut mount, Path::new("/run/share/c/0"));
        assert_eq!(
            serde_json::to_value(&mount).unwrap(),
            json!({
                "destination": "/data", "type": "bind", "source": "/run/share/c/0",
                "options": ["rbind", "ro"]
            })
        );
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
        let volume = "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/shm";
        assert_eq!(
            origin_of(json!({"destination": "/dev/shm", "type": "bind", "source": volume})),
            Origin::Host(volume.into())
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
