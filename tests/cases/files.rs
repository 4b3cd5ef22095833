//! What programs do with files: on the root file system, in an emptyDir on disk,
//! and in one in memory.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ctl::cri::v1::MountPropagation::PropagationPrivate;

use crate::bed::Bed;
use crate::harness::{cases, figure};
use crate::images::TRIALS;
use crate::kubelet::PodFolder;
use crate::pod::{Container, ContainerSpec, Logs, Pod, PodSpec, container, pod};

cases![
    any: holes,
    beyond_4_gib,
    long_names,
    extended_attributes,
    locks_hold_across_containers,
    sub_path_of_a_volume_on_disk,
    many_small_files,
    a_socket_between_containers,
    overlay_on_volumes,
    no_overlay_on_the_root,
    read_only_for_one_of_two;
    vm: a_socket_of_the_host_answers_nobody
];

/// Where each is in the container. The root is a folder of the image's.
const ROOT: &str = "/root";
const DISK: &str = "/disk";
const MEMORY: &str = "/memory";

/// A pod with a volume of each kind.
struct Volumes {
    folder: PodFolder,
    pod: Pod,
}

impl Volumes {
    async fn make(bed: &Bed, name: &str) -> Result<Self> {
        Self::of(bed, name, pod(name)).await
    }

    async fn of(bed: &Bed, name: &str, pod: PodSpec) -> Result<Self> {
        let mut folder = PodFolder::make(bed, name)?;
        folder.volume("empty-dir", "disk")?;
        folder.memory("memory", "256m")?;
        let pod = pod.run(bed).await?;
        Ok(Self { folder, pod })
    }

    fn mounted(&self, spec: ContainerSpec) -> Result<ContainerSpec> {
        let at = |name| self.folder.volume("empty-dir", name);
        let spec = spec.image(TRIALS);
        let spec = spec.mount(&at("disk")?, DISK, PropagationPrivate, false);
        Ok(spec.mount(&at("memory")?, MEMORY, PropagationPrivate, false))
    }

    async fn idle(&self, name: &str) -> Result<Container> {
        let spec = self.mounted(ContainerSpec::idle(name))?;
        spec.start(&self.pod).await
    }
}

/// Runs `trial` on each of `places`.
async fn each(bed: &Bed, trial: &str, places: &[&str]) -> Result<()> {
    let volumes = Volumes::make(bed, trial).await?;
    let main = volumes.idle("main").await?;
    for place in places {
        let said = main.ask(&["trial", trial, place]).await?;
        assert_eq!(said, "ok", "{place}");
    }
    volumes.pod.remove().await
}

async fn holes(bed: &Bed) -> Result<()> {
    each(bed, "sparse", &[ROOT, DISK, MEMORY]).await
}

async fn beyond_4_gib(bed: &Bed) -> Result<()> {
    each(bed, "large", &[ROOT, DISK, MEMORY]).await
}

async fn long_names(bed: &Bed) -> Result<()> {
    each(bed, "names", &[ROOT, DISK, MEMORY]).await
}

/// Not in memory: kernels before 6.6 have none of the user's there.
async fn extended_attributes(bed: &Bed) -> Result<()> {
    each(bed, "attributes", &[ROOT, DISK]).await
}

/// A writer in one container and a reader in another.
async fn locks_hold_across_containers(bed: &Bed) -> Result<()> {
    let volumes = Volumes::make(bed, "locks").await?;
    let asking = volumes.idle("asking").await?;
    for place in [DISK, MEMORY] {
        for kind in ["flock", "process", "open-file"] {
            let file = format!("{place}/{kind}");
            let script = format!("sleep 10000 | trial hold {kind} {file}");
            let name = format!("{kind}-{}", place.trim_start_matches('/'));
            let spec = container(&name, &["sh", "-c", &script]);
            let holding = volumes.mounted(spec)?.start(&volumes.pod).await?;
            let locked = |logs: &Logs| logs.stdout.contains("locked");
            assert!(locked(&holding.logs_when(locked).await?));
            let ask = ["trial", "lock", kind, &file];
            assert_eq!(asking.ask(&ask).await?, "held", "{file}");
            holding.stop(Duration::ZERO).await?;
            assert_eq!(asking.ask(&ask).await?, "locked", "{file}");
        }
    }
    volumes.pod.remove().await
}

/// `subPathExpr` is the same once kubelet has put the variables in.
async fn sub_path_of_a_volume_on_disk(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "part")?;
    let volume = folder.volume("empty-dir", "disk")?;
    let part = folder.sub_path("disk", "a/b", 0)?;
    let pod = pod("part").run(bed).await?;
    let mount = |spec: ContainerSpec, path: &Path, point| {
        spec.mount(path, point, PropagationPrivate, false)
    };
    let spec = mount(ContainerSpec::idle("main"), &volume, "/all");
    let main = mount(spec, &part, "/part").start(&pod).await?;
    main.ask(&["sh", "-c", "echo hello > /part/file"]).await?;
    assert_eq!(main.ask(&["cat", "/all/a/b/file"]).await?, "hello");
    pod.remove().await
}

/// How many small files, where 5,000 are too few.
const FILES: &str = "KATA_MSHV_E2E_FILES";

async fn many_small_files(bed: &Bed) -> Result<()> {
    let files = env::var(FILES).map_or(Ok(5000), |files| files.parse::<u32>());
    let files = files.with_context(|| format!("read {FILES}"))?;
    let volumes = Volumes::make(bed, "many").await?;
    let script = format!("trial many /disk {files}");
    let spec = volumes.mounted(container("main", &["sh", "-c", &script]))?;
    let main = spec.start(&volumes.pod).await?;
    let patience = Duration::from_secs(240).max(Duration::from_millis(20) * files);
    let code = main.exit_code(patience).await?;
    let logs = main.logs_when(|logs| logs.stdout.contains("ok")).await?;
    assert_eq!(code, 0, "{logs:?}");
    figure(
        format!("{files} small files"),
        logs.stdout.replace('\n', "; "),
    );
    volumes.pod.remove().await
}

async fn a_socket_between_containers(bed: &Bed) -> Result<()> {
    let volumes = Volumes::make(bed, "socket").await?;
    let main = volumes.idle("main").await?;
    for (name, place) in [("on-disk", DISK), ("in-memory", MEMORY)] {
        let socket = format!("{place}/socket");
        let spec = container(name, &["trial", "listen", &socket]);
        let listening = volumes.mounted(spec)?.start(&volumes.pod).await?;
        let ready = |logs: &Logs| logs.stdout.contains("listening");
        assert!(ready(&listening.logs_when(ready).await?));
        assert_eq!(main.ask(&["trial", "connect", &socket]).await?, "hello");
    }
    volumes.pod.remove().await
}

/// A socket is an address in a kernel: the guest's file of that name leads to
/// nobody in the guest.
async fn a_socket_of_the_host_answers_nobody(bed: &Bed) -> Result<()> {
    let path = bed.layout.scratch("host.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let pod = pod("dialling").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .image(TRIALS)
        .mount(&path, "/run/host.sock", PropagationPrivate, false)
        .start(&pod)
        .await?;
    let kind = main.ask(&["stat", "-c", "%F", "/run/host.sock"]).await?;
    assert_eq!(kind, "socket");
    let ended = main.exec(&["trial", "connect", "/run/host.sock"]).await?;
    assert!(ended.stderr.contains("Connection refused"), "{ended:?}");
    drop(listener);
    std::fs::remove_file(&path)?;
    pod.remove().await
}

/// What container engines in a pod do with their layers.
const STACK: &str = "set -e; mkdir -p $0/lower/kept $0/lower/replaced $0/upper $0/work /merged; \
    for f in changed deleted kept/file replaced/old; do echo lower > $0/lower/$f; done; \
    mount -t overlay overlay -o lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work /merged; \
    echo upper > /merged/changed; rm /merged/deleted; rm -r /merged/replaced; \
    mkdir /merged/replaced; echo upper > /merged/replaced/new; \
    mv /merged/kept/file /merged/kept/moved; chmod 600 /merged/kept/moved; \
    cat /merged/changed $0/lower/changed /merged/kept/moved; \
    cd /merged; find . -type f | sort; cd /; umount /merged";
const STACKED: &str = "upper\nlower\nlower\n./changed\n./kept/moved\n./replaced/new";

async fn stack(volumes: &Volumes, places: &[&str]) -> Result<()> {
    let spec = volumes.mounted(ContainerSpec::idle("engine"))?.privileged();
    let main = spec.start(&volumes.pod).await?;
    for place in places {
        let said = main
            .ask(&["sh", "-c", STACK, &format!("{place}/layers")])
            .await?;
        assert_eq!(said, STACKED, "{place}");
    }
    Ok(())
}

async fn overlay_on_volumes(bed: &Bed) -> Result<()> {
    let volumes = Volumes::of(bed, "engine", pod("engine").privileged()).await?;
    stack(&volumes, &[MEMORY, DISK]).await?;
    volumes.pod.remove().await
}

/// On the host that is an overlay already, which cannot be the upper layer of
/// another: a volume has to be where an engine keeps its layers.
async fn no_overlay_on_the_root(bed: &Bed) -> Result<()> {
    let volumes = Volumes::of(bed, "rooted", pod("rooted").privileged()).await?;
    let spec = volumes.mounted(ContainerSpec::idle("engine"))?.privileged();
    let main = spec.start(&volumes.pod).await?;
    let ended = main.exec(&["sh", "-c", STACK, "/root/layers"]).await?;
    assert!(ended.stderr.contains("Invalid argument"), "{ended:?}");
    volumes.pod.remove().await
}

/// It is one volume all the same: who may only read connects to the other's socket.
async fn read_only_for_one_of_two(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "one-of-two")?;
    let volume = folder.volume("empty-dir", "disk")?;
    let pod = pod("one-of-two").run(bed).await?;
    let mounted = |spec: ContainerSpec, read_only| {
        let spec = spec.image(TRIALS);
        spec.mount(&volume, DISK, PropagationPrivate, read_only)
    };
    let reader = mounted(ContainerSpec::idle("reader"), true);
    let reader = reader.start(&pod).await?;
    let writer = container("writer", &["trial", "listen", "/disk/socket"]);
    let writer = mounted(writer, false).start(&pod).await?;
    let ready = |logs: &Logs| logs.stdout.contains("listening");
    assert!(ready(&writer.logs_when(ready).await?));
    let said = reader.ask(&["trial", "connect", "/disk/socket"]).await?;
    assert_eq!(said, "hello");
    let refused = reader.exec(&["touch", "/disk/new"]).await?;
    assert!(refused.stderr.contains("Read-only"), "{refused:?}");
    pod.remove().await
}
