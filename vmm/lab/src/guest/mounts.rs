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

/// What a delegated cgroup can limit, as systemd has it.
const CONTROLLERS: &str = "+cpu +cpuset +io +memory +pids";

pub(super) fn mount_all() -> io::Result<()> {
    root().map_err(at("/"))?;
    for (kind, place, flags, options) in TABLE {
        std::fs::create_dir_all(place).map_err(at(place))?;
        mount(Some(*kind), *place, Some(*kind), *flags, Some(*options))
            .map_err(|error| at(place)(error.into()))?;
    }
    let control = "/sys/fs/cgroup/cgroup.subtree_control";
    std::fs::write(control, CONTROLLERS).map_err(at(control))
}

/// The initramfs cannot be pivoted away from, which is what jails do. A mount
/// of itself over itself can.
fn root() -> io::Result<()> {
    let place = Path::new("/root");
    std::fs::create_dir_all(place)?;
    mount(
        Some("/"),
        place,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    chdir(place)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn at(place: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{place}: {error}"))
}
