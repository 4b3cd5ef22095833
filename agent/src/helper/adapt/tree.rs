//! Where a container's mounts are, with the links of its image followed as the
//! container follows them.
//!
//! A link may lead nowhere: `/etc/resolv.conf` of an image with systemd,
//! `/var/run` of one without `/run`. Container engines mount there all the same,
//! on what they make where it leads to; libcontainer takes such a link for a file
//! in the way. So it gets destinations without links.
//!
//! This is before anything is mounted: later there is no place for it between
//! libcontainer's steps. So what is below a mount is looked up in that mount's
//! source. Nothing is made or opened here; libcontainer does that, beneath the
//! root whatever happens to it meanwhile.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::AdaptError;
use super::mounts::is_bind;

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// The container's files, with those of its mounts that have been added.
pub(super) struct Tree<'a> {
    root: &'a Path,
    /// Where they are, and what of the guest's is there; not for file systems
    /// that are to be made, and are empty or the kernel's.
    mounts: Vec<(PathBuf, Option<PathBuf>)>,
}

impl<'a> Tree<'a> {
    pub(super) fn of(root: &'a Path) -> Self {
        let mounts = Vec::new();
        Self { root, mounts }
    }

    /// Adds `mount`, whose destination has no links from here on.
    pub(super) fn add(&mut self, mount: &mut Mount) -> Result<(), AdaptError> {
        // libcontainer refuses a link there: what hides parts of these two goes by
        // their paths.
        if !matches!(mount.typ().as_deref(), Some("proc" | "sysfs")) {
            let at = self.resolve(mount.destination())?;
            mount.set_destination(at);
        }
        self.mounts
            .push((mount.destination().clone(), source(mount)));
        Ok(())
    }

    /// Whether one of the mounts is at `path`.
    pub(super) fn has_mount_at(&self, path: &Path) -> bool {
        let at = self.resolve(path);
        at.is_ok_and(|at| self.mounts.iter().any(|(point, _)| *point == at))
    }

    /// `path` without links. What is not there has none.
    fn resolve(&self, path: &Path) -> Result<PathBuf, AdaptError> {
        let mut links = 0;
        let mut at = PathBuf::from("/");
        let mut left = names(path);
        while let Some(name) = left.pop() {
            if name == OsStr::new("..") {
                at.pop();
                continue;
            }
            at.push(name);
            let Some(target) = self.link(&at) else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(AdaptError::Links(path.to_owned()));
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(names(&target));
        }
        Ok(at)
    }

    /// Where the link at `path` of the container leads to, if it is one.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        std::fs::read_link(self.in_guest(path)?).ok()
    }

    /// The guest's path of `path`, which has no links but for its last name.
    fn in_guest(&self, path: &Path) -> Option<PathBuf> {
        // A later mount hides an earlier one.
        let mut mounts = self.mounts.iter().rev();
        match mounts.find(|(point, _)| path.starts_with(point)) {
            Some((point, source)) => {
                let below = path.strip_prefix(point).ok()?;
                source.as_ref().map(|source| source.join(below))
            }
            None => Some(self.root.join(path.strip_prefix("/").ok()?)),
        }
    }
}

/// What a bind mount shows, by its real path.
fn source(mount: &Mount) -> Option<PathBuf> {
    let source = mount.source().as_ref().filter(|_| is_bind(mount))?;
    source.canonicalize().ok()
}

/// The names in `path`, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    /// A root with these links.
    fn root(links: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (link, target) in links {
            let link = root.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        root
    }

    fn added(tree: &mut Tree<'_>, mount: Value) -> PathBuf {
        let mut mount: Mount = serde_json::from_value(mount).unwrap();
        tree.add(&mut mount).unwrap();
        mount.destination().clone()
    }

    #[test]
    fn links_are_followed_wherever_they_lead_to() {
        let root = root(&[
            ("etc/resolv.conf", "../run/systemd/resolve/stub.conf"),
            ("var/run", "/run"),
            ("bin", "usr/bin"),
            ("usr/bin/sh", "busybox"),
        ]);
        let tree = Tree::of(root.path());
        for (path, expected) in [
            ("/etc/resolv.conf", "/run/systemd/resolve/stub.conf"),
            ("/var/run/secrets/token", "/run/secrets/token"),
            ("/bin/sh", "/usr/bin/busybox"),
            ("/data/./new", "/data/new"),
            ("relative/new", "/relative/new"),
        ] {
            assert_eq!(tree.resolve(Path::new(path)).unwrap(), Path::new(expected));
        }
    }

    #[test]
    fn none_leads_out_of_the_root() {
        let root = root(&[("up", "../../../../etc"), ("etc/passwd", "/proc/self/root")]);
        let tree = Tree::of(root.path());
        for (path, expected) in [
            ("/up/shadow", "/etc/shadow"),
            ("/../../up/../x", "/x"),
            ("/etc/passwd/x", "/proc/self/root/x"),
        ] {
            assert_eq!(tree.resolve(Path::new(path)).unwrap(), Path::new(expected));
        }
    }

    #[test]
    fn a_circle_is_an_error_that_names_the_path() {
        let root = root(&[("a", "b"), ("b", "a")]);
        let error = Tree::of(root.path())
            .resolve(Path::new("/a/x"))
            .unwrap_err();
        assert!(error.to_string().contains("/a/x"), "{error}");
    }

    #[test]
    fn below_a_mount_the_links_are_those_of_its_source() {
        let root = root(&[("data/link", "/image"), ("run/link", "/image")]);
        let volume = self::root(&[("link", "/volume")]);
        let mut tree = Tree::of(root.path());
        let source = volume.path();
        added(
            &mut tree,
            json!({"destination": "/data", "type": "bind", "source": source}),
        );
        added(
            &mut tree,
            json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}),
        );
        for (path, expected) in [
            ("/data/link/x", "/volume/x"),
            // Nothing is there yet.
            ("/run/link/x", "/run/link/x"),
        ] {
            let mount = json!({"destination": path, "type": "bind", "source": "/nosuch"});
            assert_eq!(added(&mut tree, mount), Path::new(expected));
        }
    }

    #[test]
    fn a_mount_is_found_behind_a_link() {
        let root = root(&[("var/run", "/run")]);
        let mut tree = Tree::of(root.path());
        added(
            &mut tree,
            json!({"destination": "/var/run/fuse", "type": "bind", "source": "/dev/fuse"}),
        );
        assert!(tree.has_mount_at(Path::new("/run/fuse")));
        assert!(!tree.has_mount_at(Path::new("/run")));
    }

    #[test]
    fn a_link_in_place_of_proc_is_left_for_libcontainer_to_refuse() {
        let root = root(&[("proc", "/tmp")]);
        let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
        let at = added(&mut Tree::of(root.path()), proc);
        assert_eq!(at, Path::new("/proc"));
    }
}
