//! Volumes of kubelet's that are more than folders of the host, told by where
//! kubelet puts them:
//!
//! ```text
//! <root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<volume>
//! <root>/pods/<uid>/volume-subpaths/<volume>/<container>/<number>
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::mountinfo::{self, Mounted};

/// What a volume is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Volume {
    /// What it seems.
    Plain,
    /// Written by kubelet, and anew when its content changes.
    Written,
    /// In memory.
    Memory {
        /// The volume's own folder.
        volume: PathBuf,
        /// The folder in it that is asked for; empty for all of it.
        folder: PathBuf,
        /// Whether it is in huge pages.
        huge: bool,
    },
}

/// Plugins that write their volumes with kubelet's `atomic_writer`.
const WRITTEN: [&str; 4] = [
    "kubernetes.io~configmap",
    "kubernetes.io~secret",
    "kubernetes.io~downward-api",
    "kubernetes.io~projected",
];
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";
const VOLUMES: &str = "volumes";
const SUB_PATHS: &str = "volume-subpaths";

/// The link to the folder that holds a written volume's content.
const DATA: &str = "..data";

/// As much as 16 sources of the 1 MiB that one may have.
const MOST_BYTES: u64 = 16 << 20;
const MOST_FILES: usize = 4096;

/// What the volume at `source` is, which a container may write to or not.
pub(super) fn volume(source: &Path, read_only: bool) -> io::Result<Volume> {
    match place(source) {
        Some(Place::Volume { plugin }) if WRITTEN.contains(&plugin) => {
            Ok(match read_only && is_small(source) {
                true => Volume::Written,
                false => Volume::Plain,
            })
        }
        Some(Place::Volume { plugin: EMPTY_DIR }) => {
            Ok(in_memory(&mountinfo::read()?, source, source))
        }
        Some(Place::SubPath { volume }) => Ok(in_memory(&mountinfo::read()?, source, &volume)),
        _ => Ok(Volume::Plain),
    }
}

/// Whether `source` is a volume of kubelet's, or a folder of one.
pub(super) fn is_volume(source: &Path) -> bool {
    place(source).is_some()
}

/// Whether `source` is an emptyDir, which is the pod's own: what one container may
/// only read, others write.
pub(super) fn is_empty_dir(source: &Path) -> bool {
    matches!(place(source), Some(Place::Volume { plugin: EMPTY_DIR }))
}

/// Which folder holds the content of the written volume at `source` now.
pub(crate) fn revision(source: &Path) -> io::Result<String> {
    let target = fs::read_link(source.join(DATA))?;
    let mut parts = target.components();
    match (parts.next().map(Component::as_os_str), parts.next()) {
        (Some(name), None) if is_folder_of_the_writer(name) => {
            Ok(name.to_string_lossy().into_owned())
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it leads to {}", target.display()),
        )),
    }
}

fn is_folder_of_the_writer(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with("..") && name.len() > 2)
}

enum Place<'a> {
    Volume { plugin: &'a str },
    SubPath { volume: PathBuf },
}

fn place(source: &Path) -> Option<Place<'_>> {
    let up = |count: usize| source.ancestors().nth(count);
    let name = |count: usize| up(count)?.file_name()?.to_str();
    let of_pods = |count: usize| name(count) == Some("pods");
    if name(2) == Some(VOLUMES) && of_pods(4) {
        return Some(Place::Volume { plugin: name(1)? });
    }
    if name(3) == Some(SUB_PATHS) && of_pods(5) {
        let volume = up(4)?.join(VOLUMES).join(EMPTY_DIR).join(name(2)?);
        return Some(Place::SubPath { volume });
    }
    None
}

/// What is mounted at `source`: `volume`, or a folder of it.
fn in_memory(table: &[Mounted], source: &Path, volume: &Path) -> Volume {
    let at = |point: &Path| table.iter().rev().find(|mounted| mounted.point == point);
    let (Some(found), Some(whole)) = (at(source), at(volume)) else {
        return Volume::Plain;
    };
    let folder = found.root.strip_prefix(&whole.root);
    match (whole.kind.as_str(), folder) {
        (kind @ ("tmpfs" | "hugetlbfs"), Ok(folder)) if found.device == whole.device => {
            Volume::Memory {
                volume: volume.to_owned(),
                folder: folder.to_owned(),
                huge: kind == "hugetlbfs",
            }
        }
        _ => Volume::Plain,
    }
}

/// Whether the guest can have a copy. Its content is kubelet's: nobody else
/// writes to it.
fn is_small(source: &Path) -> bool {
    let mut found = Content::default();
    let counted = revision(source).and_then(|name| found.add(&source.join(name)));
    counted.is_ok() && found.bytes <= MOST_BYTES && found.files <= MOST_FILES
}

#[derive(Default)]
struct Content {
    bytes: u64,
    files: usize,
}

impl Content {
    fn add(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            self.files += 1;
            self.bytes = self.bytes.saturating_add(metadata.len());
            if self.files > MOST_FILES || self.bytes > MOST_BYTES {
                break;
            }
            if metadata.is_dir() {
                self.add(&entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const POD: &str = "/var/lib/kubelet/pods/0d9e";
    const TABLE: &str = "\
21 1 254:0 / / rw - ext4 /dev/vda rw
40 21 0:30 / /var/lib/kubelet/pods/0d9e/volumes/kubernetes.io~empty-dir/ram rw - tmpfs tmpfs rw
41 21 0:30 /a/b /var/lib/kubelet/pods/0d9e/volume-subpaths/ram/main/0 rw - tmpfs tmpfs rw
42 21 0:31 / /var/lib/kubelet/pods/0d9e/volumes/kubernetes.io~empty-dir/huge rw - hugetlbfs none rw
43 21 254:0 /x /var/lib/kubelet/pods/0d9e/volume-subpaths/disk/main/0 rw - ext4 /dev/vda rw
";

    fn memory(below: &str) -> Volume {
        let source = PathBuf::from(format!("{POD}/{below}"));
        let volume = match place(&source).unwrap() {
            Place::Volume { .. } => source.clone(),
            Place::SubPath { volume } => volume,
        };
        in_memory(&mountinfo::parse(TABLE), &source, &volume)
    }

    #[test]
    fn a_volume_in_memory_and_a_folder_of_it_are_one() {
        let expected = |name: &str, folder: &str| Volume::Memory {
            volume: format!("{POD}/volumes/kubernetes.io~empty-dir/{name}").into(),
            folder: folder.into(),
            huge: name == "huge",
        };
        let whole = |name: &str| memory(&format!("volumes/kubernetes.io~empty-dir/{name}"));
        assert_eq!(whole("ram"), expected("ram", ""));
        assert_eq!(memory("volume-subpaths/ram/main/0"), expected("ram", "a/b"));
        assert_eq!(whole("huge"), expected("huge", ""));
    }

    #[test]
    fn what_is_on_disk_is_plain() {
        assert_eq!(
            memory("volumes/kubernetes.io~empty-dir/disk"),
            Volume::Plain
        );
        assert_eq!(memory("volume-subpaths/disk/main/0"), Volume::Plain);
    }

    /// A volume in a temporary folder that looks like kubelet's.
    fn written(folder: &Path) -> PathBuf {
        let volume = folder.join("pods/u/volumes/kubernetes.io~configmap/settings");
        fs::create_dir_all(volume.join("..1")).unwrap();
        symlink("..1", volume.join(DATA)).unwrap();
        volume
    }

    #[test]
    fn what_kubelet_writes_is_known_by_its_place_and_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        assert_eq!(revision(&path).unwrap(), "..1");
        assert_eq!(volume(&path, true).unwrap(), Volume::Written);
        assert_eq!(volume(&path, false).unwrap(), Volume::Plain);
        let elsewhere = folder.path().join("pods/u/volumes/kubernetes.io~csi/x");
        fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
        fs::rename(&path, &elsewhere).unwrap();
        assert_eq!(volume(&elsewhere, true).unwrap(), Volume::Plain);
    }

    #[test]
    fn a_large_one_stays_on_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let file = fs::File::create(path.join("..1/large")).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(volume(&path, true).unwrap(), Volume::Plain);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_no_revision() {
        let folder = tempfile::tempdir().unwrap();
        for target in ["/etc", "..", ".", "data", "../..1", "..1/x"] {
            let volume = folder.path().join(target.replace('/', "-"));
            fs::create_dir(&volume).unwrap_or_default();
            let _ = fs::remove_file(volume.join(DATA));
            if symlink(target, volume.join(DATA)).is_ok() {
                assert!(revision(&volume).is_err(), "{target}");
            }
        }
    }
}
