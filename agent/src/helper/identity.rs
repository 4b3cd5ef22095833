//! Users: their home in the container's own `/etc/passwd`, and what their ids
//! are outside the container's user namespace.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, Process};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// More of `/etc/passwd` than any real one has: the file is the image's.
const PASSWD_LIMIT: u64 = 1 << 20;

/// The home of user `uid` as the container in `root` knows it.
///
/// Read by hand: the C library's look-up would load what the image's
/// `nsswitch.conf` names, into a process that still has all its privileges.
fn home(root: &Path, uid: u32) -> Option<String> {
    let passwd = open_in_root(root, Path::new("etc/passwd"))?;
    BufReader::new(passwd.take(PASSWD_LIMIT))
        .lines()
        .map_while(Result::ok)
        .find_map(|line| home_in(&line, uid))
}

/// Sets `HOME` for the user of `process` when its environment has none.
pub(super) fn ensure_home(process: &mut Process, root: &Path) {
    let uid = process.user().uid();
    let environment = process.env_mut().get_or_insert_default();
    let set = |entry: &String| entry.starts_with("HOME=") && entry.len() > "HOME=".len();
    if !environment.iter().any(set) {
        let home = home(root, uid).unwrap_or_else(|| "/".to_owned());
        environment.push(format!("HOME={home}"));
    }
}

fn open_in_root(root: &Path, path: &Path) -> Option<File> {
    let folder = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat2(
        folder.ok()?,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    )
    .ok()
    .map(File::from)
    .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))
}

/// `name:password:uid:gid:comment:home:shell` (passwd(5)).
fn home_in(line: &str, uid: u32) -> Option<String> {
    let mut fields = line.split(':');
    let found = fields.nth(2)?.parse() == Ok(uid);
    fields
        .nth(2)
        .filter(|home| found && !home.is_empty())
        .map(str::to_owned)
}

/// What `id` of the container is in the guest: itself without a user
/// namespace; `None` when the namespace does not map it.
pub(super) fn outside(id: u32, mappings: Option<&[LinuxIdMapping]>) -> Option<u32> {
    let Some(mappings) = mappings.filter(|mappings| !mappings.is_empty()) else {
        return Some(id);
    };
    mappings.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id())?;
        (offset < range.size()).then(|| range.host_id().checked_add(offset))?
    })
}

/// Gives the standard streams that are pipes to user `uid` of the guest, so
/// that the process can open `/dev/stdout` and the like again.
pub(super) fn own_pipes(uid: u32) {
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let is_pipe = rustix::fs::fstat(stream)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo());
        if is_pipe {
            // The process runs without that as well.
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_the_images_own() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# no user\napp:x:1000:1000::/srv/app:\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        assert_eq!(home(root.path(), 1000).as_deref(), Some("/srv/app"));
        assert_eq!(home(root.path(), 0).as_deref(), Some("/root"));
        assert_eq!(home(root.path(), 7), None);
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("etc")).unwrap();
        assert_eq!(home(root.path(), 0), None);
    }

    #[test]
    fn ids_are_mapped_as_the_namespace_maps_them() {
        let mapping: LinuxIdMapping =
            serde_json::from_str(r#"{"containerID": 0, "hostID": 65536, "size": 1000}"#).unwrap();
        assert_eq!(outside(5, None), Some(5));
        assert_eq!(outside(5, Some(&[mapping])), Some(65541));
        assert_eq!(outside(1000, Some(&[mapping])), None);
    }
}
