//! Volumes that the guest has in its own memory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use protocol::agent::{CopiedVolume, MemoryVolume, Owner};
use protocol::paths;

use super::SpecError;
use crate::huge_pages::HugePages;
use crate::ids::IdMap;
use crate::share::Share;

/// What the agent has to have ready for a container.
#[derive(Default)]
pub(crate) struct GuestVolumes {
    pub(crate) written: Vec<Written>,
    pub(crate) memory: Vec<MemoryVolume>,
    /// Those of them that are in huge pages of the host, and how large these are.
    huge: Vec<(PathBuf, u64)>,
}

/// A volume of kubelet's that the guest has a copy of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) host: PathBuf,
    pub(crate) name: String,
    /// The guest's path of it in the share.
    pub(crate) source: String,
}

impl Written {
    /// What the agent is told of it when it is at `revision`.
    pub(crate) fn at(&self, revision: &str) -> CopiedVolume {
        CopiedVolume {
            name: self.name.clone(),
            source: self.source.clone(),
            revision: revision.to_owned(),
            ..Default::default()
        }
    }
}

impl GuestVolumes {
    /// Adds the written volume at `host`; the guest's path of its copy.
    pub(super) fn add_written(
        &mut self,
        host: &Path,
        ids: Option<&IdMap>,
        share: &mut Share,
    ) -> Result<PathBuf, SpecError> {
        let source = share.keep_volume(host, ids)?;
        let name = share.name_in_guest(host, Path::new(""));
        let path = in_guest(&name);
        self.written.push(Written {
            host: host.to_owned(),
            name,
            source: source.display().to_string(),
        });
        Ok(path)
    }

    /// Adds `folder` of the volume in memory at `volume`, which the host has at
    /// `source`; the guest's path of it.
    pub(super) fn add_memory(
        &mut self,
        source: &Path,
        volume: &Path,
        folder: &Path,
        huge: bool,
        ids: Option<&IdMap>,
        share: &mut Share,
    ) -> Result<PathBuf, SpecError> {
        let unknown = |source| SpecError::Volume {
            path: volume.to_owned(),
            source,
        };
        let name = share.name_in_guest(volume, Path::new(""));
        let folder_name = share.name_in_guest(volume, folder);
        let path = in_guest(&folder_name);
        let page_size = match huge {
            true => page_size(volume).map_err(unknown)?,
            false => 0,
        };
        self.huge
            .extend(huge.then(|| (volume.to_owned(), page_size)));
        self.memory.push(MemoryVolume {
            name,
            size: size(volume).map_err(unknown)?,
            owner: Some(owner(volume, ids).map_err(unknown)?).into(),
            folder: folder.display().to_string(),
            folder_owner: Some(owner(source, ids).map_err(unknown)?).into(),
            folder_name,
            page_size,
            ..Default::default()
        });
        Ok(path)
    }

    /// Refuses those in huge pages of a size of which the guest keeps none: there
    /// would be nothing to map.
    pub(crate) fn check_huge_pages(&self, kept: &HugePages) -> Result<(), SpecError> {
        let mut all = self.huge.iter();
        let without = all.find(|(_, page_size)| kept.in_pages_of(*page_size) == 0);
        without.map_or(Ok(()), |(path, page_size)| {
            Err(SpecError::HugePages {
                path: path.clone(),
                mib: page_size >> 20,
            })
        })
    }
}

fn in_guest(name: &str) -> PathBuf {
    Path::new(paths::VOLUMES).join(name)
}

/// Bytes that the file system at `volume` has room for.
fn size(volume: &Path) -> io::Result<u64> {
    let found = statvfs(volume)?;
    Ok(found.blocks().saturating_mul(found.fragment_size()))
}

/// Of a file system in huge pages, their size.
fn page_size(volume: &Path) -> io::Result<u64> {
    Ok(statvfs(volume)?.block_size())
}

/// Whose `path` is in the guest: what no range maps stays nobody's of the pod.
fn owner(path: &Path, ids: Option<&IdMap>) -> io::Result<Owner> {
    let metadata = fs::metadata(path)?;
    let (user, group) = (metadata.uid(), metadata.gid());
    Ok(Owner {
        uid: ids.and_then(|ids| ids.user(user)).unwrap_or(user),
        gid: ids.and_then(|ids| ids.group(group)).unwrap_or(group),
        mode: metadata.mode() & 0o7777,
        ..Default::default()
    })
}
