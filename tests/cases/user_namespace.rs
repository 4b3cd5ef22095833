//! Pods with a user namespace (`hostUsers: false`): root in the pod is nobody
//! outside of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri::v1::MountPropagation::PropagationPrivate;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::errors::refused_container_in;
use crate::bed::Bed;
use crate::harness::cases;
use crate::kubelet::{PodFolder, Written};
use crate::network_view::in_namespace;
use crate::pod::{Container, ContainerSpec, PodSpec, container, pod};

cases![
    user_namespaces: root_is_another_outside,
    files_of_the_image_are_its_roots,
    a_volume_on_disk_has_the_pods_ids,
    a_volume_in_memory_has_the_pods_ids,
    written_volumes_have_the_pods_ids,
    ids_that_cannot_be_mapped_are_refused,
    its_root_may_use_its_network,
    its_network_follows_the_nodes,
    processes_are_shared_in_it,
    containers_share_it
];

/// The node's number of the pod's root.
const FIRST: u32 = 7 << 16;

fn confined(bed: &Bed, name: &str) -> PodSpec {
    let handler = bed.handler.without_options();
    pod(name).user_namespace(FIRST).handler(handler)
}

async fn owner(container: &Container, path: &str) -> Result<String> {
    container.ask(&["stat", "-c", "%u:%g", path]).await
}

async fn root_is_another_outside(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "map").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    for file in ["/proc/self/uid_map", "/proc/1/gid_map"] {
        let map = main.ask(&["cat", file]).await?;
        let numbers: Vec<u32> = map
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        assert_eq!(numbers, [0, FIRST, 1 << 16], "{file}");
    }
    assert_eq!(main.ask(&["id", "-u"]).await?, "0");
    let user = ContainerSpec::idle("user").user(1000).start(&pod).await?;
    assert_eq!(user.ask(&["id", "-u"]).await?, "1000");
    // A stream of it can be opened again, by its owner.
    let said = user.ask(&["sh", "-c", "echo x > /dev/stdout"]).await?;
    assert_eq!(said, "x");
    pod.remove().await
}

async fn files_of_the_image_are_its_roots(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "image").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    for path in ["/", "/etc/passwd", "/bin/busybox", "/etc/hosts", "/dev/shm"] {
        assert_eq!(owner(&main, path).await?, "0:0", "{path}");
    }
    let script = "set -e; touch /etc/passwd; echo x > /root/x; chown 1000:1000 /root/x; \
                  echo y >> /root/x; mkdir /d; chmod 4755 /bin/busybox";
    main.ask(&["sh", "-c", script]).await?;
    assert_eq!(owner(&main, "/root/x").await?, "1000:1000");
    pod.remove().await
}

async fn a_volume_on_disk_has_the_pods_ids(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "ids")?;
    let volume = folder.volume("empty-dir", "data")?;
    fs::write(volume.join("before"), "").context("write a file")?;
    chown(volume.join("before"), Some(1000), Some(2000)).context("give the file away")?;
    let pod = confined(bed, "ids").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .mount(&volume, "/data", PropagationPrivate, false)
        .start(&pod)
        .await?;
    assert_eq!(owner(&main, "/data/before").await?, "1000:2000");
    main.ask(&["touch", "/data/after"]).await?;
    assert_eq!(owner(&main, "/data/after").await?, "0:0");
    let on_the_node = fs::metadata(volume.join("after")).context("look for the file")?;
    assert_eq!((on_the_node.uid(), on_the_node.gid()), (0, 0));
    pod.remove().await
}

async fn a_volume_in_memory_has_the_pods_ids(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "ram")?;
    let volume = folder.memory("cache", "8m")?;
    let pod = confined(bed, "ram").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .mount(&volume, "/cache", PropagationPrivate, false)
        .start(&pod)
        .await?;
    main.ask(&["touch", "/cache/file"]).await?;
    assert_eq!(owner(&main, "/cache").await?, "0:0");
    assert_eq!(owner(&main, "/cache/file").await?, "0:0");
    pod.remove().await
}

async fn written_volumes_have_the_pods_ids(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "written")?;
    let volume = Written::make(&folder, "secret", "v", &[("key", "value")])?;
    let pod = confined(bed, "written").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .mount(&volume.path, "/volume", PropagationPrivate, true)
        .start(&pod)
        .await?;
    assert_eq!(main.ask(&["cat", "/volume/key"]).await?, "value");
    let found = main.ask(&["stat", "-Lc", "%u:%g", "/volume/key"]).await?;
    assert_eq!(found, "0:0");
    pod.remove().await
}

async fn processes_are_shared_in_it(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "shared").share_processes().run(bed).await?;
    let one = container("one", &["sleep", "1111"]).start(&pod).await?;
    let two = ContainerSpec::idle("two").start(&pod).await?;
    let found = two
        .ask(&["sh", "-c", "ps | grep -c '[s]leep 1111'"])
        .await?;
    assert_eq!(found, "1");
    let kill = "ps | grep '[s]leep 1111' | while read pid rest; do kill -9 $pid; done";
    two.ask(&["sh", "-c", kill]).await?;
    one.exit_code(Duration::from_secs(10)).await?;
    pod.remove().await
}

/// The network's namespace belongs to the pod's user namespace.
async fn its_root_may_use_its_network(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "port").run(bed).await?;
    let server = "mkdir /www; echo hello > /www/index.html; httpd -f -h /www -p 80";
    let main = container("main", &["sh", "-c", server]).start(&pod).await?;
    let get = "until wget -qO- http://127.0.0.1/; do sleep 0.1; done";
    assert_eq!(main.ask(&["sh", "-c", get]).await?, "hello");
    let address = pod.addresses().await?.remove(0);
    let other = confined(bed, "other").run(bed).await?;
    let client = ContainerSpec::idle("client").start(&other).await?;
    let get = format!("wget -qO- http://{address}/");
    assert_eq!(client.ask(&["sh", "-c", &get]).await?, "hello");
    other.remove().await?;
    pod.remove().await
}

/// What is changed on the node arrives in that namespace of the guest.
async fn its_network_follows_the_nodes(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "follows").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    for (verb, condition) in [("add", "until"), ("del", "while")] {
        in_namespace(&["ip", "route", verb, "10.66.0.0/16", "via", "10.88.0.1"])?;
        let seen = "ip route | grep -q 10.66.0.0/16";
        let wait = format!("{condition} {seen}; do sleep 0.1; done");
        main.ask(&["sh", "-c", &wait]).await?;
    }
    pod.remove().await
}

async fn containers_share_it(bed: &Bed) -> Result<()> {
    let pod = confined(bed, "one").run(bed).await?;
    let one = ContainerSpec::idle("one").start(&pod).await?;
    let two = ContainerSpec::idle("two").start(&pod).await?;
    for kind in ["user", "net", "ipc", "uts"] {
        let link = format!("/proc/self/ns/{kind}");
        let (a, b) = (
            one.ask(&["readlink", &link]).await?,
            two.ask(&["readlink", &link]).await?,
        );
        ensure!(a == b, "{kind}: {a} and {b}");
    }
    assert_eq!(two.ask(&["hostname"]).await?, "one");
    pod.remove().await
}

/// ramfs has no idmapped mounts.
async fn ids_that_cannot_be_mapped_are_refused(bed: &Bed) -> Result<()> {
    let volume = bed.layout.scratch("unmappable");
    fs::create_dir_all(&volume).context("make a folder")?;
    let kind = Some("ramfs");
    mount(kind, &volume, kind, MsFlags::empty(), None::<&str>).context("mount a ramfs")?;
    let spec = ContainerSpec::idle("main").mount(&volume, "/data", PropagationPrivate, false);
    let words = ["unmappable", "idmap"];
    let refused = refused_container_in(bed, confined(bed, "refusing"), "ids", spec, &words).await;
    umount2(&volume, MntFlags::empty()).context("unmount the ramfs")?;
    fs::remove_dir(&volume).context("remove the folder")?;
    refused
}
