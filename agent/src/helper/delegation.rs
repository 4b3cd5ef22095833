//! Cgroups that are their container's to manage.

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{Uid, chown};

use super::identity;

/// The files that the kernel means to be handed over (cgroups(7), "Cgroups v2
/// delegation").
const FILES: &str = "/sys/kernel/cgroup/delegate";

/// The cgroup stays root's.
#[derive(Debug, thiserror::Error)]
#[error("give the container's cgroup file {path:?} to user {owner}")]
pub(super) struct DelegationError {
    path: PathBuf,
    owner: u32,
    source: io::Error,
}

/// Gives `cgroup` to the user of the process of `spec`, where the container may
/// write to it (OCI runtime specification, "Cgroup ownership").
pub(super) fn delegate(spec: &Spec, user: u32, cgroup: &Path) -> Result<(), DelegationError> {
    match owner(spec, user) {
        // It is root's.
        None | Some(0) => Ok(()),
        Some(owner) => {
            let files = std::fs::read_to_string(FILES).unwrap_or_default();
            hand_over(cgroup, &files, owner)
        }
    }
}

/// Who `user` of the container is outside, if its cgroup is to be writable.
fn owner(spec: &Spec, user: u32) -> Option<u32> {
    let mappings = spec.linux().as_ref()?.uid_mappings().as_deref();
    let writable = spec.mounts().iter().flatten().any(is_writable);
    identity::outside(user, mappings).filter(|_| writable)
}

fn is_writable(mount: &Mount) -> bool {
    let kind = mount.typ().as_deref();
    let options = mount.options().iter().flatten();
    matches!(kind, Some("cgroup" | "cgroup2"))
        && mount.destination() == Path::new("/sys/fs/cgroup")
        && !options.into_iter().any(|option| option == "ro")
}

/// `files` are names, one a line; not every cgroup has all of them.
fn hand_over(cgroup: &Path, files: &str, owner: u32) -> Result<(), DelegationError> {
    let paths = files.lines().map(|name| cgroup.join(name));
    for path in std::iter::once(cgroup.to_owned()).chain(paths) {
        match chown(&path, Some(Uid::from_raw(owner)), None) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => {}
            Err(errno) => {
                let source = errno.into();
                return Err(DelegationError {
                    path,
                    owner,
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(options: &str, linux: &str) -> Spec {
        let json = format!(
            r#"{{"ociVersion": "1.1.0", "linux": {linux}, "mounts": [
                {{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                  "options": {options}}}]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    const MAPPED: &str = r#"{"uidMappings": [{"containerID": 0, "hostID": 65536, "size": 65536}]}"#;

    #[test]
    fn a_writable_cgroup_is_its_users() {
        let writable = r#"["nosuid", "rw"]"#;
        assert_eq!(owner(&spec(writable, MAPPED), 0), Some(65536));
        assert_eq!(owner(&spec(writable, MAPPED), 1000), Some(66536));
        assert_eq!(owner(&spec(writable, "{}"), 1000), Some(1000));
    }

    #[test]
    fn a_read_only_cgroup_stays_roots() {
        assert_eq!(owner(&spec(r#"["nosuid", "ro"]"#, MAPPED), 0), None);
        let mut without = spec("[]", MAPPED);
        without.set_mounts(None);
        assert_eq!(owner(&without, 0), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_passed_over() {
        let cgroup = tempfile::tempdir().unwrap();
        std::fs::write(cgroup.path().join("cgroup.procs"), "").unwrap();
        let own = rustix::process::getuid().as_raw();
        hand_over(cgroup.path(), "cgroup.procs\nmemory.oom.group\n", own).unwrap();
    }
}
