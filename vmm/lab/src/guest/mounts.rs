//! The file systems of a host.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

const NO: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const TEMPORARY: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Type, place, flags, options.
type Row = (&'static str, &'static str, MsFlags, &'static str);

const TABLE: &[Row] = &[
    ("proc", "/proc", NO, ""),
    ("sysfs", "/sys", NO, ""),
    ("cgroup2", "/sys/fs/cgroup", NO, ""),
    ("securityfs", "/sys/kernel/security", NO, ""),
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=755"),
    (
        "devpts",
        "/dev/pts",
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "mode=620,ptmxmode=666",
    ),
    ("tmpfs", "/dev/shm", TEMPORARY, "mode=1777"),
    ("mqueue", "/dev/mqueue", NO, ""),
    ("tmpfs", "/tmp", TEMPORARY, "mode=1777"),
    ("tmpfs", "/run", TEMPORARY, "mode=755"),
];

/// In memory, for what programs write where the root is the host's.
pub const SCRATCH: &str = "/mnt";

/// By which the host's files are mounted.
pub(crate) const HOST_TAG: &str = "host";

/// Nobody changes them meanwhile, so what was read once is kept. The size is
/// the largest that fits the device's ring.
const HOST_OPTIONS: &str = "trans=virtio,version=9p2000.L,cache=loose,msize=507904";

/// What a delegated cgroup can limit, as systemd has it.
const CONTROLLERS: &str = "+cpu +cpuset +io +memory +pids";

pub(super) fn mount_all() -> io::Result<()> {
    let host_files = super::is_set(super::HOST_FILES);
    root(host_files).map_err(at("/"))?;
    for (kind, place, flags, options) in table(host_files) {
        std::fs::create_dir_all(place).map_err(at(place))?;
        mount(Some(*kind), *place, Some(*kind), *flags, Some(*options))
            .map_err(|error| at(place)(error.into()))?;
    }
    let control = "/sys/fs/cgroup/cgroup.subtree_control";
    std::fs::write(control, CONTROLLERS).map_err(at(control))
}

/// `/tmp` of the host stays: there may be programs in it.
fn table(host_files: bool) -> impl Iterator<Item = &'static Row> {
    const IN_MEMORY: Row = ("tmpfs", SCRATCH, TEMPORARY, "mode=1777");
    let rows = TABLE
        .iter()
        .filter(move |(_, place, ..)| !host_files || *place != "/tmp");
    rows.chain(host_files.then_some(&IN_MEMORY))
}

/// The initramfs cannot be pivoted away from, which is what jails do. A mount
/// of itself over itself can, and so can the host's files.
fn root(host_files: bool) -> io::Result<()> {
    let place = Path::new("/root");
    std::fs::create_dir_all(place)?;
    let (source, kind, flags, options) = match host_files {
        true => (HOST_TAG, Some("9p"), MsFlags::MS_RDONLY, Some(HOST_OPTIONS)),
        false => ("/", None, MsFlags::MS_BIND, None),
    };
    mount(Some(source), place, kind, flags, options)?;
    chdir(place)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn at(place: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{place}: {error}"))
}
