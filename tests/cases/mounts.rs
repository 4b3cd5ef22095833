//! Host folders with mounts of the host's below them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ctl::cri::v1::MountPropagation::{
    self, PropagationBidirectional, PropagationHostToContainer, PropagationPrivate,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::errors::refused_container;
use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::pod::{Container, ContainerSpec, Pod, pod};
use crate::task;

cases![
    any: read_only_ends_at_a_mount_below,
    read_only_ends_there_for_all_of_several,
    recursively_read_only_is_read_only_below,
    a_host_mount_arrives_where_it_is_asked_for,
    a_host_mount_stays_away_elsewhere;
    vm: mounts_are_not_handed_to_the_host,
    a_link_that_leads_nowhere_is_followed,
    the_hosts_dev_in_place_of_the_containers,
    a_device_in_place_of_itself_or_another
];

/// A guest sees a change of the host within a second.
const SEEN: Duration = Duration::from_secs(20);

/// A folder of the host, on a mount of its own that others can follow.
struct Folder(PathBuf);

impl Folder {
    fn make(bed: &Bed, name: &str) -> Result<Self> {
        let path = bed.layout.scratch(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        tmpfs(&path)?;
        let folder = Self(path);
        let shared = MsFlags::MS_SHARED;
        mount(None::<&str>, &folder.0, None::<&str>, shared, None::<&str>)
            .context("share the folder's mount")?;
        Ok(folder)
    }

    /// Mounts a file system with a file `mark` at `below`.
    fn mount(&self, below: &str) -> Result<()> {
        let point = self.0.join(below);
        fs::create_dir_all(&point).with_context(|| format!("make {}", point.display()))?;
        tmpfs(&point)?;
        fs::write(point.join("mark"), "").context("write a mark")
    }

    async fn container(&self, pod: &Pod, how: MountPropagation, ro: bool) -> Result<Container> {
        ContainerSpec::idle("main")
            .mount(&self.0, "/data", how, ro)
            .start(pod)
            .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // With what is mounted below it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

fn tmpfs(point: &Path) -> Result<()> {
    let (kind, flags) = (Some("tmpfs"), MsFlags::empty());
    mount(kind, point, kind, flags, Some("size=1m"))
        .with_context(|| format!("mount a tmpfs at {}", point.display()))
}

/// `readOnly` is not `recursiveReadOnly`.
async fn read_only_ends_at_a_mount_below(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "fixed")?;
    folder.mount("below")?;
    let pod = pod("fixed").run(bed).await?;
    let container = folder.container(&pod, PropagationPrivate, true).await?;
    container.ask(&["touch", "/data/below/new"]).await?;
    assert!(folder.0.join("below/new").exists(), "the host has no file");
    assert_eq!(container.exec(&["touch", "/data/new"]).await?.code, Some(1));
    pod.remove().await
}

/// One in the other, one hidden by a later one, and one with a space.
async fn read_only_ends_there_for_all_of_several(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "several")?;
    for below in ["hidden/deep", "hidden", "a b", "outer", "outer/inner"] {
        folder.mount(below)?;
    }
    let pod = pod("several").run(bed).await?;
    let container = folder.container(&pod, PropagationPrivate, true).await?;
    for below in ["hidden", "a b", "outer", "outer/inner"] {
        let file = format!("/data/{below}/new");
        container.ask(&["touch", &file]).await?;
    }
    assert!(folder.0.join("outer/inner/new").exists());
    pod.remove().await
}

/// Through `ctr`: containerd's CRI asks no runtime but runc whether it can.
async fn recursively_read_only_is_read_only_below(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "recursive")?;
    folder.mount("below")?;
    let source = folder.0.display();
    let mount = format!("type=bind,src={source},dst=/data,options=rbind:rprivate:rro");
    let script = "cat /data/below/mark; touch /data/below/new; touch /data/new";
    let command = ["sh", "-c", script];
    let run = task::run(bed, &["--rm", "--mount", &mount], "recursive", &command);
    let ended = Ended::of(run).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let refused = ended.stderr.matches("Read-only file system").count();
    assert_eq!(refused, 2, "{ended:?}");
    assert!(
        !folder.0.join("below/new").exists(),
        "the host has the file"
    );
    Ok(())
}

async fn a_host_mount_arrives_where_it_is_asked_for(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "followed")?;
    fs::create_dir(folder.0.join("late")).context("make a folder")?;
    let pod = pod("followed").run(bed).await?;
    let container = folder
        .container(&pod, PropagationHostToContainer, false)
        .await?;
    assert_eq!(container.ask(&["ls", "/data/late"]).await?, "");
    folder.mount("late")?;
    let seen = "until [ -e /data/late/mark ]; do sleep 0.1; done";
    container
        .ask(&["timeout", &SEEN.as_secs().to_string(), "sh", "-c", seen])
        .await?;
    pod.remove().await
}

async fn a_host_mount_stays_away_elsewhere(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "apart")?;
    fs::create_dir(folder.0.join("late")).context("make a folder")?;
    let pod = pod("apart").run(bed).await?;
    let container = folder.container(&pod, PropagationPrivate, false).await?;
    folder.mount("late")?;
    // Longer than the guest keeps what it knows of a folder.
    let late = container.ask(&["sh", "-c", "sleep 2; ls /data/late"]);
    assert_eq!(late.await?, "");
    // What is not mounted does arrive.
    fs::write(folder.0.join("file"), "").context("write a file")?;
    container
        .ask(&["sh", "-c", "until [ -e /data/file ]; do sleep 0.1; done"])
        .await?;
    pod.remove().await
}

/// Rather than an empty folder on the host, where others wait for a mount.
async fn mounts_are_not_handed_to_the_host(bed: &Bed) -> Result<()> {
    let folder = Folder::make(bed, "handed")?;
    let spec =
        ContainerSpec::idle("main").mount(&folder.0, "/data", PropagationBidirectional, false);
    let words = ["/data", "Bidirectional", "HostToContainer"];
    refused_container(bed, "mounts for the host", spec, &words).await
}

/// As in images with systemd, whose `/etc/resolv.conf` is such a link; here it is one
/// of a volume.
async fn a_link_that_leads_nowhere_is_followed(bed: &Bed) -> Result<()> {
    let links = Folder::make(bed, "links")?;
    symlink("/nowhere/made", links.0.join("link")).context("make a link")?;
    let folder = Folder::make(bed, "linked")?;
    fs::write(folder.0.join("mark"), "here").context("write a mark")?;
    let pod = pod("linked").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .mount(&links.0, "/data", PropagationPrivate, false)
        .mount(&folder.0, "/data/link", PropagationPrivate, false)
        .start(&pod)
        .await?;
    assert_eq!(main.ask(&["cat", "/nowhere/made/mark"]).await?, "here");
    pod.remove().await
}

/// As plugins for storage mount it. It is the guest's, twice.
async fn the_hosts_dev_in_place_of_the_containers(bed: &Bed) -> Result<()> {
    let pod = pod("dev").run(bed).await?;
    for name in ["one", "two"] {
        let spec = ContainerSpec::idle(name);
        let spec = spec.mount(Path::new("/dev"), "/dev", PropagationPrivate, false);
        let main = spec.start(&pod).await?;
        let script = "test -c /dev/fuse && echo x > /dev/null && test -d /dev/shm && \
                      readlink /dev/fd && readlink /dev/ptmx";
        let said = main.ask(&["sh", "-c", script]).await?;
        assert_eq!(said, "/proc/self/fd\npts/ptmx");
    }
    pod.remove().await
}

async fn a_device_in_place_of_itself_or_another(bed: &Bed) -> Result<()> {
    let pod = pod("nodes").privileged().run(bed).await?;
    let mut spec = ContainerSpec::idle("main").privileged();
    for (host, path) in [("/dev/kmsg", "/dev/kmsg"), ("/dev/urandom", "/dev/random")] {
        spec = spec.mount(Path::new(host), path, PropagationPrivate, false);
    }
    let main = spec.start(&pod).await?;
    let script = "stat -c %t:%T /dev/kmsg /dev/random";
    assert_eq!(main.ask(&["sh", "-c", script]).await?, "1:b\n1:9");
    pod.remove().await
}
