//! Mounts that a container in a user namespace may not make: those of kinds
//! whose namespaces (network, IPC) are the pod's. It gets the pod's own instead.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::mount::{MountFlags, mount};

use super::AdaptError;

/// Where the guest's message queues are mounted once a container needs them.
const QUEUES: &str = "/run/mqueue";

/// Rewrites `mounts` for a container that is `confined` to a user namespace.
pub(super) fn adapt(mounts: &mut [Mount], confined: bool) -> Result<(), AdaptError> {
    if !confined {
        return Ok(());
    }
    for mount in mounts {
        match mount.typ().as_deref() {
            Some("sysfs") => bind(mount, Path::new("/sys"), "rbind"),
            Some("mqueue") => bind(mount, &queues()?, "bind"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `mount` shows what there is already.
pub(super) fn is_bind(mount: &Mount) -> bool {
    let mut options = mount.options().iter().flatten();
    mount.typ().as_deref() == Some("bind") || options.any(|o| o == "bind" || o == "rbind")
}

/// A mount that no specification asked for.
pub(super) fn new(at: &Path, kind: &str, source: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    let options = options.iter().map(|&option| option.to_owned()).collect();
    mount
        .set_destination(at.to_owned())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options));
    mount
}

fn bind(mount: &mut Mount, source: &Path, kind: &str) {
    let mut options = mount.options().clone().unwrap_or_default();
    options.push(kind.to_owned());
    mount
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()));
    mount.set_options(Some(options));
}

fn queues() -> Result<PathBuf, AdaptError> {
    let path = PathBuf::from(QUEUES);
    if path.exists() {
        return Ok(path);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    std::fs::create_dir(&path)
        .and_then(|()| Ok(mount("mqueue", &path, "mqueue", flags, None)?))
        .map_err(|source| AdaptError::Queues {
            path: path.clone(),
            source,
        })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs() -> Vec<Mount> {
        let json = r#"[{"destination": "/sys", "type": "sysfs", "source": "sysfs",
                        "options": ["nosuid", "ro"]}]"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_confined_container_sees_the_guests_sysfs() {
        let mut mounts = sysfs();
        adapt(&mut mounts, true).unwrap();
        let mount = &mounts[0];
        assert_eq!(mount.typ().as_deref(), Some("bind"));
        assert_eq!(mount.source().as_deref(), Some(Path::new("/sys")));
        assert_eq!(
            mount.options().as_ref().unwrap(),
            &["nosuid", "ro", "rbind"]
        );
    }

    #[test]
    fn other_containers_mount_what_they_ask_for() {
        let mut mounts = sysfs();
        adapt(&mut mounts, false).unwrap();
        assert_eq!(mounts, sysfs());
    }
}
