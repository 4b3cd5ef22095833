//! The bed's view of the file system: the host's, with everything that names
//! processes, networks, control groups or running things replaced by its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::cgroups;

/// Where CNI's library keeps its cache; the place cannot be configured.
const CNI_CACHE: &str = "/var/lib/cni";

/// Replaced by empty file systems in memory.
const EMPTY: &[&str] = &["/run", "/dev/shm", CNI_CACHE];

pub(super) fn arrange() -> Result<()> {
    // Nothing goes out to the host; within the bed mounts propagate, as on a
    // node of a cluster.
    propagation(MsFlags::MS_PRIVATE)?;
    propagation(MsFlags::MS_SHARED)?;
    let groups = cgroups::hierarchies()?;
    let name_servers = NameServers::read();
    new("proc", "/proc", "")?;
    new("sysfs", "/sys", "")?;
    cgroups::mount_all(&groups)?;
    for folder in EMPTY {
        if !Path::new(folder).exists() {
            make_in_bed(Path::new(folder))?;
        }
        new("tmpfs", folder, "mode=755")?;
    }
    name_servers.restore()
}

/// Mounts a new file system of `kind` on `target`.
pub(super) fn new(kind: &str, target: impl AsRef<Path>, options: &str) -> Result<()> {
    let target = target.as_ref();
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mount {kind} on {} in the bed", target.display()))
}

/// Makes a folder that the host does not have, and does not get: its parent
/// becomes an overlay that keeps changes in memory.
fn make_in_bed(folder: &Path) -> Result<()> {
    let parent = folder.parent().context("the root folder is there")?;
    let changes = Path::new("/run/changes");
    let options = format!(
        "lowerdir={},upperdir=/run/changes/upper,workdir=/run/changes/work",
        parent.display()
    );
    fs::create_dir(changes).context("make a folder in the bed's /run")?;
    new("tmpfs", changes, "mode=755")?;
    for name in ["upper", "work"] {
        fs::create_dir(changes.join(name)).context("make the folders of an overlay")?;
    }
    new("overlay", parent, &options)?;
    fs::create_dir(folder).with_context(|| format!("make {} in the bed", folder.display()))?;
    // The overlay holds what it needs of it.
    umount2(changes, MntFlags::MNT_DETACH).context("hide the overlay's changes")?;
    fs::remove_dir(changes).context("remove a folder from the bed's /run")
}

fn propagation(kind: MsFlags) -> Result<()> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        kind | MsFlags::MS_REC,
        None::<&str>,
    )
    .context("change the propagation of the bed's mounts")
}

/// `/etc/resolv.conf` is often a link into `/run`, and CRI copies it into pods.
struct NameServers(Option<(PathBuf, Vec<u8>)>);

impl NameServers {
    fn read() -> Self {
        let path = fs::canonicalize("/etc/resolv.conf").ok();
        let path = path.filter(|path| path.starts_with("/run"));
        Self(path.and_then(|path| fs::read(&path).ok().map(|text| (path, text))))
    }

    fn restore(self) -> Result<()> {
        let Some((path, text)) = self.0 else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new("/run"));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("write {} in the bed", path.display()))
    }
}
