//! Small volumes that kubelet writes and writes anew (configMap, secret,
//! downwardAPI, projected), copied from the share.
//!
//! virtio-fs tells the guest nothing of what changes on the host, so that a
//! program that waits for it by inotify would wait for ever. A copy changes in the
//! guest, in the steps in which kubelet changes the original (its package
//! `atomic_writer`): a new folder with all of the content; the link `..data`
//! renamed from the old folder to it; a link through `..data` for each name in it;
//! the old folder removed. A reader sees the old content or the new, never a part.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use protocol::agent::{CopiedVolume, Owner};

use super::{VolumeError, one_component, own};

/// Names the folder that holds the content.
const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the volume at `root` what its source is at a revision.
pub(super) fn refresh(root: &Path, volume: &CopiedVolume) -> Result<(), VolumeError> {
    let CopiedVolume {
        source, revision, ..
    } = volume;
    if !one_component(revision) || !revision.starts_with("..") {
        return Err(VolumeError::Name(revision.clone()));
    }
    let source = Path::new(source);
    turn(root, source, revision).map_err(|error| {
        // What was not finished is in nobody's way, and made anew the next time.
        let _ = discard(root, &root.join(revision));
        VolumeError::Copy {
            path: root.to_owned(),
            revision: source.join(revision),
            source: error,
        }
    })
}

fn turn(root: &Path, source: &Path, revision: &str) -> io::Result<()> {
    let before = fs::read_link(root.join(DATA)).ok();
    if before.as_deref() == Some(Path::new(revision)) {
        return Ok(());
    }
    let content = root.join(revision);
    copy_folder(&source.join(revision), &content)?;
    own(root, &owner(&fs::metadata(source)?))?;
    let link = root.join(NEW_DATA);
    // Left behind by an attempt that failed.
    let _ = fs::remove_file(&link);
    symlink(revision, &link)?;
    fs::rename(&link, root.join(DATA))?;
    link_names(root, &content)?;
    match before {
        Some(before) => fs::remove_dir_all(root.join(before)),
        None => Ok(()),
    }
}

/// Unless `..data` names it.
fn discard(root: &Path, content: &Path) -> io::Result<()> {
    match fs::read_link(root.join(DATA)) {
        Ok(current) if root.join(&current) == content => Ok(()),
        _ => fs::remove_dir_all(content),
    }
}

/// Gives each name of `content` its link in `root`, and removes other links.
fn link_names(root: &Path, content: &Path) -> io::Result<()> {
    let wanted = names(content)?;
    let found: Vec<_> = names(root)?.into_iter().filter(|name| ours(name)).collect();
    for name in wanted.iter().filter(|name| !found.contains(name)) {
        symlink(Path::new(DATA).join(name), root.join(name))?;
    }
    for name in found.iter().filter(|name| !wanted.contains(name)) {
        fs::remove_file(root.join(name))?;
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Names that begin with two dots are the writer's, none is the content's.
fn ours(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b"..")
}

/// Copies files and folders. There is nothing else in such a volume.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()? {
            kind if kind.is_dir() => copy_folder(&from, &to)?,
            kind if kind.is_file() => copy_file(&from, &to)?,
            _ => return Err(io::Error::other(format!("{} is no file", from.display()))),
        }
    }
    own(to, &owner(&fs::metadata(from)?))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut target) = (File::open(from)?, File::create_new(to)?);
    io::copy(&mut from, &mut target)?;
    let metadata = from.metadata()?;
    target.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    own(to, &owner(&metadata))
}

fn owner(metadata: &fs::Metadata) -> Owner {
    Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Volume {
        folder: tempfile::TempDir,
    }

    impl Volume {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("copy")).unwrap();
            fs::create_dir(folder.path().join("source")).unwrap();
            Self { folder }
        }

        fn root(&self) -> PathBuf {
            self.folder.path().join("copy")
        }

        fn source(&self) -> PathBuf {
            self.folder.path().join("source")
        }

        fn write(&self, revision: &str, files: &[(&str, &str)]) {
            for (name, text) in files {
                let path = self.source().join(revision).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }

        fn refresh(&self, revision: &str) -> Result<(), VolumeError> {
            let volume = CopiedVolume {
                name: "x".into(),
                source: self.source().display().to_string(),
                revision: revision.into(),
                ..Default::default()
            };
            refresh(&self.root(), &volume)
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.root().join(name)).ok()
        }

        fn listed(&self) -> Vec<OsString> {
            let mut all = names(&self.root()).unwrap();
            all.sort();
            all
        }
    }

    #[test]
    fn a_copy_follows_its_source() {
        let volume = Volume::new();
        volume.write("..1", &[("kept", "a"), ("gone", "b"), ("deep/er", "c")]);
        volume.refresh("..1").unwrap();
        assert_eq!(volume.read("deep/er").as_deref(), Some("c"));
        volume.write("..2", &[("kept", "A"), ("new", "d")]);
        volume.refresh("..2").unwrap();
        assert_eq!(volume.listed(), ["..2", "..data", "kept", "new"]);
        assert_eq!(volume.read("kept").as_deref(), Some("A"));
        assert_eq!(volume.read("new").as_deref(), Some("d"));
    }

    #[test]
    fn modes_and_times_are_the_sources() {
        use std::os::unix::fs::PermissionsExt;
        let volume = Volume::new();
        volume.write("..1", &[("script", "#!/bin/sh")]);
        let path = volume.source().join("..1/script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        volume.refresh("..1").unwrap();
        let (from, to) = (
            fs::metadata(path).unwrap(),
            fs::metadata(volume.root().join("script")).unwrap(),
        );
        assert_eq!(to.mode(), from.mode());
        assert_eq!(to.modified().unwrap(), from.modified().unwrap());
    }

    #[test]
    fn a_revision_that_is_not_there_leaves_the_one_before() {
        let volume = Volume::new();
        volume.write("..1", &[("name", "a")]);
        volume.refresh("..1").unwrap();
        volume.refresh("..2").unwrap_err();
        volume.refresh("..1").unwrap();
        assert_eq!(volume.listed(), ["..1", "..data", "name"]);
        volume.write("..2", &[("name", "b")]);
        volume.refresh("..2").unwrap();
        assert_eq!(volume.read("name").as_deref(), Some("b"));
    }

    #[test]
    fn a_revision_is_a_folder_of_the_source() {
        let volume = Volume::new();
        for revision in ["", "..", "../x", "/etc", "name"] {
            let error = volume.refresh(revision).unwrap_err();
            assert!(
                matches!(error, VolumeError::Name(_)),
                "{revision:?}: {error}"
            );
        }
    }
}
