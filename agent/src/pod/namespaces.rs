//! The namespaces of a pod that has a user namespace. A helper makes them; each is
//! kept by a mount on a file, as `ip netns` does it, so that nothing lives in them
//! while no container does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use protocol::Failure;
use protocol::agent::{CreateSandboxRequest, IdMapping};
use rustix::fd::AsFd;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::container::launch::Launch;
use crate::helper::{self, Task};
use crate::helpers::Helpers;
use crate::stdio::Ends;

const FOLDER: &str = "/run/pod-namespaces";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    User,
    Network,
    Ipc,
    Uts,
}

/// With the names of `/proc/PID/ns`.
const ALL: [(Namespace, &str, LinkNameSpaceType); 4] = [
    (Namespace::User, "user", LinkNameSpaceType::User),
    (Namespace::Network, "net", LinkNameSpaceType::Network),
    (
        Namespace::Ipc,
        "ipc",
        LinkNameSpaceType::InterProcessCommunication,
    ),
    (
        Namespace::Uts,
        "uts",
        LinkNameSpaceType::HostNameAndNISDomainName,
    ),
];

/// Where one is kept.
pub(crate) fn path(namespace: Namespace) -> PathBuf {
    let found = ALL.iter().find(|(kind, ..)| *kind == namespace);
    Path::new(FOLDER).join(found.map_or("", |(_, name, _)| name))
}

/// One that is kept.
pub(crate) fn open(namespace: Namespace) -> io::Result<File> {
    File::open(path(namespace))
}

/// Keeps those of the process in `proc`.
pub(crate) fn keep(proc: &Path) -> io::Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    for (_, name, _) in ALL {
        let file = Path::new(FOLDER).join(name);
        File::create(&file)?;
        mount_bind(proc.join("ns").join(name), &file)?;
    }
    Ok(())
}

/// The calling thread joins the network, IPC and UTS namespaces.
pub(crate) fn join_shared() -> io::Result<()> {
    for (namespace, _, kind) in ALL {
        if namespace != Namespace::User {
            move_into_link_name_space(open(namespace)?.as_fd(), Some(kind))?;
        }
    }
    Ok(())
}

/// Makes the namespaces that `request` asks for. Whether it asks for any.
pub(super) async fn make(
    request: &CreateSandboxRequest,
    helpers: &std::sync::Arc<Helpers>,
) -> Result<bool, Failure> {
    if request.uid_mappings.is_empty() && request.gid_mappings.is_empty() {
        return Ok(false);
    }
    let task = Task::Namespaces(helper::Namespaces {
        uid_map: map(&request.uid_mappings),
        gid_map: map(&request.gid_mappings),
    });
    let launch = Launch::start(&task, &Ends::null()?, None, helpers)?;
    launch.executed().await?;
    Ok(true)
}

/// User and group that the pod's root is in the guest.
pub(super) fn root(request: &CreateSandboxRequest) -> (u32, u32) {
    let outside = |ranges: &[IdMapping]| {
        let root = ranges.iter().find(|range| range.inside == 0);
        root.map_or(0, |range| range.outside)
    };
    (
        outside(&request.uid_mappings),
        outside(&request.gid_mappings),
    )
}

/// A line for each range (user_namespaces(7)).
fn map(ranges: &[IdMapping]) -> String {
    ranges
        .iter()
        .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.size))
        .collect()
}

/// Does `work` in the pod's network, IPC and UTS namespaces, with the rights of the
/// guest; it is told where the network's devices are in a sysfs of these.
pub(super) fn inside<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> io::Result<T> {
    let body = || {
        join_shared()?;
        let sys = Path::new(FOLDER).join("sys");
        std::fs::create_dir_all(&sys)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("sysfs", &sys, "sysfs", flags, None)?;
        let done = work(&sys.join("class/net"));
        unmount(&sys, UnmountFlags::DETACH)?;
        Ok(done)
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(body);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_line() {
        let range = |inside, outside, size| IdMapping {
            inside,
            outside,
            size,
            ..Default::default()
        };
        let text = map(&[range(0, 65536, 1000), range(5000, 7000, 1)]);
        assert_eq!(text, "0 65536 1000\n5000 7000 1\n");
    }

    #[test]
    fn each_is_kept_under_the_kernels_name() {
        assert_eq!(path(Namespace::Network), Path::new(FOLDER).join("net"));
    }
}
