//! The pod's one virtio-fs share: what the guest may see of the host, bound
//! under names that nobody can guess.
//!
//! The share and everything in it exist in the shim's own mount namespace
//! only. When the pod's processes are gone the kernel takes the mounts away
//! with the namespace, however they ended.

mod below;
mod loop_device;
mod mapped;
mod mount;
mod options;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};
use protocol::paths;

use crate::ids::IdMap;

pub(crate) use below::{MOST as MOST_BELOW, writable as writable_below};
pub(crate) use mount::MountError;

/// A mount as containerd describes it (`containerd.types.Mount`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootfsMount {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) options: Vec<String>,
}

/// A file or folder of the host that a container is to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) source: &'a Path,
    pub(crate) access: Access,
    /// Whether what the host mounts below it later appears too
    /// (`mountPropagation: HostToContainer`).
    pub(crate) follows: bool,
    /// Whose its files are in a pod with a user namespace.
    pub(crate) ids: Option<&'a IdMap>,
}

/// What the guest may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// All of it.
    Writable,
    /// What is mounted below it (`readOnly`).
    ReadOnly,
    /// Nothing (`recursiveReadOnly`).
    AllReadOnly,
}

impl<'a> Volume<'a> {
    /// A root file system; nobody mounts anything below it.
    fn root(source: &'a Path, access: Access) -> Self {
        Self {
            source,
            access,
            follows: false,
            ids: None,
        }
    }
}

/// The root of a pod's share.
pub(crate) struct Share {
    root: PathBuf,
    /// Where mounts are finished before they are shown.
    stage: Stage,
    /// Names in use, by the container they serve.
    entries: HashMap<String, Vec<PathBuf>>,
    /// Volumes that are shown.
    volumes: Vec<Shown>,
    /// What all containers have until the end, by its path on the host.
    kept: HashMap<PathBuf, PathBuf>,
    /// What the guest calls folders of volumes that it has itself.
    names: HashMap<(PathBuf, PathBuf), String>,
}

/// Whose entries stay as long as the pod: no container's id is empty.
const POD: &str = "";

/// Gives the process a mount namespace of its own, which still follows the
/// host's mounts. To be called before there is a second thread.
pub(crate) fn enter_own_mount_namespace() -> Result<(), MountError> {
    mount::unshare_as_slave()
}

impl Share {
    /// An empty share at `root`, an existing folder in one that is ours.
    pub(crate) fn new(root: &Path) -> Result<Self, MountError> {
        let stage = Stage::beside(root)?;
        // Only mount points live in it: it needs no room.
        mount::tmpfs(root, "mode=0755,size=1m,nr_inodes=16k")?;
        mount::propagate(root, MsFlags::MS_SHARED)?;
        Ok(Self::empty(root, stage))
    }

    /// A share that nothing is mounted in.
    #[cfg(test)]
    pub(crate) fn unmounted(root: &Path) -> Self {
        Self::empty(root, Stage::beside(root).unwrap())
    }

    fn empty(root: &Path, stage: Stage) -> Self {
        Self {
            root: root.to_owned(),
            stage,
            entries: HashMap::new(),
            volumes: Vec::new(),
            kept: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Where the share is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Mounts a container's root file system; the guest's path of it.
    pub(crate) fn add_rootfs(
        &mut self,
        container: &str,
        mounts: &[RootfsMount],
        bundle_rootfs: &Path,
    ) -> Result<PathBuf, MountError> {
        let entry = self.new_folder(container)?;
        let host = self.root.join(&entry);
        match mounts {
            // Somebody else has prepared it in the bundle.
            [] => mount::bind(
                Volume::root(bundle_rootfs, Access::Writable),
                &self.stage.folder,
                &host,
            )?,
            mounts => {
                for mount in mounts {
                    mount::rootfs(mount, &self.stage, &host)?;
                }
            }
        }
        Ok(Path::new(paths::SHARE).join(entry))
    }

    /// Makes a volume visible; the guest's path of it.
    ///
    /// Containers that have the same volume get the same one: in the guest, a mount
    /// of the share is a file system of its own, and locks, sockets and mapped
    /// memory do not reach from one to the other.
    pub(crate) fn add_volume(
        &mut self,
        container: &str,
        volume: Volume<'_>,
    ) -> Result<PathBuf, MountError> {
        let source = volume.source;
        let metadata = fs::metadata(source).map_err(MountError::source_missing(source))?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(entry) = self.shown(volume, identity) {
            self.entries_of(container).push(entry.clone());
            return Ok(Path::new(paths::SHARE).join(entry));
        }
        let (entry, stage) = match metadata.is_dir() {
            true => (self.new_folder(container)?, &self.stage.folder),
            false => (self.new_file(container)?, &self.stage.file),
        };
        mount::bind(volume, stage, &self.root.join(&entry))?;
        self.volumes.push(Shown {
            source: source.to_owned(),
            identity,
            access: volume.access,
            follows: volume.follows,
            ids: volume.ids.cloned(),
            entry: entry.clone(),
        });
        Ok(Path::new(paths::SHARE).join(entry))
    }

    /// The entry of a volume that is `wanted` too. Not where something is mounted
    /// below it: that may have come since, which each container sees as it is when
    /// that begins.
    fn shown(&self, wanted: Volume<'_>, identity: (u64, u64)) -> Option<PathBuf> {
        let mut all = self.volumes.iter();
        let found = all.find(|shown| shown.serves(wanted, identity))?;
        let below = below::all(wanted.source).ok()?;
        below.is_empty().then(|| found.entry.clone())
    }

    /// Makes a volume visible, read-only, until the pod ends; the guest's path of
    /// it, which is the same the next time.
    pub(crate) fn keep_volume(
        &mut self,
        source: &Path,
        ids: Option<&IdMap>,
    ) -> Result<PathBuf, MountError> {
        if let Some(there) = self.kept.get(source) {
            return Ok(there.clone());
        }
        let volume = Volume {
            source,
            access: Access::ReadOnly,
            follows: false,
            ids,
        };
        let path = self.add_volume(POD, volume)?;
        self.kept.insert(source.to_owned(), path.clone());
        Ok(path)
    }

    /// What the guest calls `folder` of the host's `volume`, which it has itself;
    /// the same each time.
    pub(crate) fn name_in_guest(&mut self, volume: &Path, folder: &Path) -> String {
        let next = format!("volume-{}", self.names.len());
        let key = (volume.to_owned(), folder.to_owned());
        self.names.entry(key).or_insert(next).clone()
    }

    /// The guest's paths of what `container` has.
    pub(crate) fn paths(&self, container: &str) -> Vec<String> {
        let entries = self.entries.get(container).into_iter().flatten();
        let path = |entry: &PathBuf| Path::new(paths::SHARE).join(entry);
        entries
            .map(|entry| path(entry).display().to_string())
            .collect()
    }

    /// Takes away what `container` had.
    pub(crate) fn remove(&mut self, container: &str) {
        let entries = self.entries.remove(container).unwrap_or_default();
        for entry in entries.iter().rev() {
            if self.entries.values().flatten().any(|other| other == entry) {
                continue;
            }
            self.volumes.retain(|shown| shown.entry != *entry);
            let path = self.root.join(entry);
            // What the guest still holds open goes with its last user.
            while nix::mount::umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
            let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        }
    }

    /// Takes everything away. Can be called again.
    pub(crate) fn close(&mut self) {
        let containers: Vec<_> = self.entries.keys().cloned().collect();
        for container in containers {
            self.remove(&container);
        }
        let _ = nix::mount::umount2(&self.root, MntFlags::MNT_DETACH);
    }

    fn new_folder(&mut self, container: &str) -> Result<PathBuf, MountError> {
        let name = self.new_name(container);
        let path = self.root.join(&name);
        fs::create_dir(&path).map_err(MountError::mount_point(&path))?;
        Ok(name)
    }

    fn new_file(&mut self, container: &str) -> Result<PathBuf, MountError> {
        let name = self.new_name(container);
        let path = self.root.join(&name);
        File::create(&path).map_err(MountError::mount_point(&path))?;
        Ok(name)
    }

    fn new_name(&mut self, container: &str) -> PathBuf {
        let name = PathBuf::from(hex::encode(rand::random::<[u8; 16]>()));
        self.entries_of(container).push(name.clone());
        name
    }

    fn entries_of(&mut self, container: &str) -> &mut Vec<PathBuf> {
        self.entries.entry(container.to_owned()).or_default()
    }
}

/// A volume in the share.
struct Shown {
    source: PathBuf,
    /// Number of the file system, and of the folder or file in it.
    identity: (u64, u64),
    access: Access,
    follows: bool,
    ids: Option<IdMap>,
    entry: PathBuf,
}

impl Shown {
    /// Whether it can be `wanted` for one container more. What another may write to
    /// the guest keeps from being written to by one that may not.
    fn serves(&self, wanted: Volume<'_>, identity: (u64, u64)) -> bool {
        let accesses = (self.access, wanted.access);
        self.source == wanted.source
            && self.identity == identity
            && self.follows == wanted.follows
            && self.ids.as_ref() == wanted.ids
            && (self.access == wanted.access || accesses == (Access::Writable, Access::ReadOnly))
    }
}

/// Folders and a file that are mounted over for a moment.
struct Stage {
    folder: PathBuf,
    file: PathBuf,
    /// For the layers of a root file system.
    layers: PathBuf,
}

impl Stage {
    fn beside(root: &Path) -> Result<Self, MountError> {
        let stage = Self {
            folder: root.with_file_name("stage"),
            file: root.with_file_name("stage-file"),
            layers: root.with_file_name("stage-layers"),
        };
        for folder in [&stage.folder, &stage.layers] {
            fs::create_dir(folder).map_err(MountError::mount_point(folder))?;
        }
        File::create(&stage.file).map_err(MountError::mount_point(&stage.file))?;
        Ok(stage)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_serves_who_wants_no_more_than_it_gives() {
        let shown = |access| Shown {
            source: "/data".into(),
            identity: (1, 2),
            access,
            follows: false,
            ids: None,
            entry: "x".into(),
        };
        let wanted = |access| Volume {
            source: Path::new("/data"),
            access,
            follows: false,
            ids: None,
        };
        let serves = |has, wants| shown(has).serves(wanted(wants), (1, 2));
        assert!(serves(Access::Writable, Access::Writable));
        assert!(serves(Access::Writable, Access::ReadOnly));
        assert!(!serves(Access::ReadOnly, Access::Writable));
        assert!(!serves(Access::Writable, Access::AllReadOnly));
        // Another file of the same name.
        assert!(!shown(Access::Writable).serves(wanted(Access::Writable), (1, 3)));
    }
}
