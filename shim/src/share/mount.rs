//! The mounts themselves.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::loop_device::LoopDevice;
use super::{Access, RootfsMount, Stage, Volume, below, mapped, options};
use crate::ids::IdMap;

/// What a mount failed at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("enter a mount namespace of the shim's own")]
    Namespace(#[source] Errno),
    #[error("mount {kind} from {origin:?} at {}", target.display())]
    Mount {
        kind: String,
        origin: String,
        target: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("set the propagation of {}", target.display())]
    Propagation {
        target: PathBuf,
        #[source]
        source: Errno,
    },
    #[error(
        "map the ids of {} for the pod's user namespace (hostUsers: false): its file system has \
         to support idmapped mounts", path.display()
    )]
    Ids {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error(
        "read the snapshotter's mount option {option:?}: ranges of ids are `inside:outside:size`, \
         with commas between them"
    )]
    Range { option: String },
    #[error(
        "map the ids of a root file system of type {kind} for the pod's user namespace \
         (hostUsers: false): only those of overlays and bind mounts are mapped"
    )]
    IdsOfKind { kind: String },
    #[error("look at the volume {} on the host", path.display())]
    Source {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make the mount point {}", path.display())]
    MountPoint {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl MountError {
    pub(super) fn source_missing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Source {
            path: path.to_owned(),
            source,
        }
    }

    fn not_mapped(path: &Path) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Ids {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn mount_point(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::MountPoint {
            path: path.to_owned(),
            source,
        }
    }
}

const NONE: Option<&str> = None;

pub(super) fn unshare_as_slave() -> Result<(), MountError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(MountError::Namespace)?;
    // What the host mounts and unmounts later must still arrive here:
    // a volume that the host unmounts would stay busy otherwise.
    propagate(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SLAVE)
}

pub(super) fn propagate(target: &Path, how: MsFlags) -> Result<(), MountError> {
    mount(NONE, target, NONE, how, NONE).map_err(|source| MountError::Propagation {
        target: target.to_owned(),
        source,
    })
}

pub(super) fn tmpfs(target: &Path, data: &str) -> Result<(), MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(data))
        .map_err(failed("tmpfs", "tmpfs", target))
}

/// What no mount of the share needs on the host: the guest's kernel decides for
/// itself what it executes and which device nodes it follows.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Binds `volume` to `target`, by way of `stage`.
///
/// A volume that does not follow its source no longer hears of it; one that does
/// stays its slave, and hands what comes from there on to the virtio-fs process.
///
/// A mount is propagated into the virtio-fs process's namespace with the flags
/// that it has when it appears; a later remount is not propagated. So the flags
/// are set where nobody looks, and the finished mount is bound into the share.
pub(super) fn bind(volume: Volume<'_>, stage: &Path, target: &Path) -> Result<(), MountError> {
    let origin = volume.source.display().to_string();
    match volume.ids {
        None => bind_mount(volume.source, stage).map_err(failed("bind", &origin, target))?,
        Some(ids) => mapped::bind(volume.source, stage, ids)
            .map_err(MountError::not_mapped(volume.source))?,
    }
    let finished = finish(volume, stage).and_then(|()| bind_mount(stage, target));
    let cleared = umount2(stage, MntFlags::MNT_DETACH);
    finished
        .and(cleared)
        .map_err(failed("bind", &origin, target))
}

fn finish(volume: Volume<'_>, stage: &Path) -> nix::Result<()> {
    if !volume.follows {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(NONE, stage, NONE, private, NONE)?;
    }
    match volume.access {
        Access::Writable => remount_bind(stage, HARMLESS),
        Access::ReadOnly => remount_bind(stage, HARMLESS | MsFlags::MS_RDONLY),
        Access::AllReadOnly => remount_all_read_only(stage),
    }
}

fn remount_all_read_only(stage: &Path) -> nix::Result<()> {
    let flags = HARMLESS | MsFlags::MS_RDONLY;
    remount_bind(stage, flags)?;
    let found = below::all(stage).map_err(number)?;
    for below in found {
        match remount_bind(&stage.join(below), flags) {
            // Hidden by another mount.
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The kernel's number of `error`, if it is the kernel's.
pub(super) fn number(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

fn bind_mount(source: &Path, target: &Path) -> nix::Result<()> {
    mount(
        Some(source),
        target,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )
}

fn remount_bind(target: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(
        NONE,
        target,
        NONE,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags,
        NONE,
    )
}

/// Mounts what a snapshotter asks for at `target`.
pub(super) fn rootfs(wanted: &RootfsMount, stage: &Stage, target: &Path) -> Result<(), MountError> {
    let (ids, options) =
        IdMap::of_options(&wanted.options).map_err(|option| MountError::Range { option })?;
    let (flags, data) = options::parse(&options);
    if wanted.kind == "bind" || flags.contains(MsFlags::MS_BIND) {
        let access = match flags.contains(MsFlags::MS_RDONLY) {
            true => Access::ReadOnly,
            false => Access::Writable,
        };
        let mut volume = Volume::root(Path::new(&wanted.source), access);
        volume.ids = ids.as_ref();
        return bind(volume, &stage.folder, target);
    }
    if ids.is_some() && wanted.kind != "overlay" {
        let kind = wanted.kind.clone();
        return Err(MountError::IdsOfKind { kind });
    }
    let flags = flags | HARMLESS;
    let (in_file, data): (Vec<_>, Vec<_>) = data.into_iter().partition(|o| *o == "loop");
    if !in_file.is_empty() {
        return in_a_file(wanted, target, flags, &data);
    }
    match ids {
        None => mount_data(wanted, target, flags, &data),
        Some(ids) => with_layers_mapped(&ids, &data, &stage.layers, |data| {
            mount_data(wanted, target, flags, data)
        }),
    }
}

/// A file system in a file.
fn in_a_file(
    wanted: &RootfsMount,
    target: &Path,
    flags: MsFlags,
    data: &[&str],
) -> Result<(), MountError> {
    let file = Path::new(&wanted.source);
    let device = LoopDevice::attach(file, flags.contains(MsFlags::MS_RDONLY));
    let device = device.map_err(failed("loop", &wanted.source, target))?;
    let wanted = RootfsMount {
        source: device.path.display().to_string(),
        ..wanted.clone()
    };
    mount_data(&wanted, target, flags, data)
}

/// Calls `mount` with the lower layers of an overlay's `data` mapped by `ids`; the
/// snapshotter has given the upper one to the pod's root already. An overlay keeps
/// its layers' mounts: these can go at once.
fn with_layers_mapped(
    ids: &IdMap,
    data: &[&str],
    stage: &Path,
    mount: impl FnOnce(&[&str]) -> Result<(), MountError>,
) -> Result<(), MountError> {
    let lower = data.iter().find_map(|option| option.strip_prefix(LOWER));
    let Some((folder, layers)) = lower.and_then(relative_to_shared_folder) else {
        return mount(data);
    };
    mapped::bind(&folder, stage, ids).map_err(MountError::not_mapped(&folder))?;
    let layers = layers.split(':').map(|layer| stage.join(layer));
    let layers: Vec<_> = layers.map(|path| path.display().to_string()).collect();
    let lower = format!("{LOWER}{}", layers.join(":"));
    let others = data.iter().filter(|option| !option.starts_with(LOWER));
    let data: Vec<_> = [lower.as_str()]
        .into_iter()
        .chain(others.copied())
        .collect();
    let mounted = mount(&data);
    let cleared = umount2(stage, MntFlags::MNT_DETACH);
    mounted.and(cleared.map_err(failed("layers", "", stage)))
}

/// Which option of an overlay names its lower layers.
const LOWER: &str = "lowerdir=";

fn mount_data(
    wanted: &RootfsMount,
    target: &Path,
    flags: MsFlags,
    data: &[&str],
) -> Result<(), MountError> {
    let joined = data.join(",");
    let short = match joined.len() < page_size() {
        true => Shortened {
            folder: None,
            data: joined,
        },
        false => shorten_lower_dirs(data),
    };
    let call = || {
        mount(
            Some(wanted.source.as_str()),
            target,
            Some(wanted.kind.as_str()),
            flags,
            (!short.data.is_empty()).then_some(short.data.as_str()),
        )
    };
    let result = match &short.folder {
        None => call(),
        Some(folder) => in_folder(folder, call),
    };
    result.map_err(failed(&wanted.kind, &wanted.source, target))
}

/// Mount data that fits a page (the kernel's limit for mount(2)) because its
/// paths are relative to `folder`.
struct Shortened {
    folder: Option<PathBuf>,
    data: String,
}

/// An image of many layers has more `lowerdir` text than mount(2) takes: name
/// the layers relative to the folder that they share.
fn shorten_lower_dirs(data: &[&str]) -> Shortened {
    let lower = data.iter().find_map(|option| option.strip_prefix(LOWER));
    let Some((folder, lower)) = lower.and_then(relative_to_shared_folder) else {
        return Shortened {
            folder: None,
            data: data.join(","),
        };
    };
    let mut short = format!("{LOWER}{lower}");
    for option in data.iter().filter(|option| !option.starts_with(LOWER)) {
        let _ = write!(short, ",{option}");
    }
    Shortened {
        folder: Some(folder),
        data: short,
    }
}

fn relative_to_shared_folder(lower: &str) -> Option<(PathBuf, String)> {
    let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let first = layers.first()?.parent()?;
    let shared = first
        .ancestors()
        .find(|folder| layers.iter().all(|layer| layer.starts_with(folder)))?;
    let relative: Option<Vec<_>> = layers
        .iter()
        .map(|layer| layer.strip_prefix(shared).ok()?.to_str())
        .collect();
    Some((shared.to_owned(), relative?.join(":")))
}

/// Runs `call` with `folder` as its working folder, in a thread that shares
/// none with the rest of the process.
fn in_folder(folder: &Path, call: impl Fn() -> nix::Result<()> + Sync) -> nix::Result<()> {
    let body = || {
        unshare(CloneFlags::CLONE_FS)?;
        nix::unistd::chdir(folder)?;
        call()
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap_or(Err(Errno::EIO)))
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| size.try_into().ok())
        .unwrap_or(4096)
}

fn failed(kind: &str, origin: &str, target: &Path) -> impl FnOnce(Errno) -> MountError {
    move |source| MountError::Mount {
        kind: kind.to_owned(),
        origin: origin.to_owned(),
        target: target.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_are_named_relative_to_their_folder() {
        let layers: Vec<_> = (0..200)
            .map(|n| format!("/var/lib/snapshots/{n}/fs"))
            .collect();
        let lower = format!("lowerdir={}", layers.join(":"));
        let short = shorten_lower_dirs(&["index=off", &lower, "upperdir=/u"]);
        assert_eq!(
            short.folder.as_deref(),
            Some(Path::new("/var/lib/snapshots"))
        );
        assert!(short.data.starts_with("lowerdir=0/fs:1/fs:2/fs"));
        assert!(short.data.ends_with("199/fs,index=off,upperdir=/u"));
        assert!(short.data.len() < 4096);
    }

    fn refused(kind: &str, ids: &str) -> MountError {
        let wanted = RootfsMount {
            kind: kind.to_owned(),
            source: "/nowhere".to_owned(),
            options: vec![ids.to_owned()],
        };
        let stage = Stage {
            folder: "/nowhere".into(),
            file: "/nowhere".into(),
            layers: "/nowhere".into(),
        };
        rootfs(&wanted, &stage, Path::new("/nowhere")).unwrap_err()
    }

    #[test]
    fn ids_that_cannot_be_heeded_are_refused() {
        assert!(matches!(
            refused("ext4", "uidmap=0:65536:65536"),
            MountError::IdsOfKind { kind } if kind == "ext4"
        ));
        assert!(matches!(
            refused("overlay", "uidmap=0:65536"),
            MountError::Range { option } if option == "uidmap=0:65536"
        ));
    }

    #[test]
    fn one_layer_still_has_a_folder() {
        let (folder, lower) = relative_to_shared_folder("/a/b/fs").unwrap();
        assert_eq!(
            (folder.as_path(), lower.as_str()),
            (Path::new("/a/b"), "fs")
        );
    }
}
