//! The pod's control group on the host, as kubelet makes and limits it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bed::{Bed, Handler};
use crate::harness::{cases, figure};
use crate::pod::{ContainerSpec, Limits, container, pod};

cases![
    vm: every_process_is_in_it,
    containers_follow_its_limit,
    figures_of_the_sandbox_are_the_groups,
    one_without_room_for_a_vm_is_refused,
    the_class_is_that_of_the_containers;
    vm with Disk: page_cache_stays_within_its_limit
];

/// What the RuntimeClass would declare: QEMU's, which is more than the built-in
/// VMM's (the configuration's defaults).
const OVERHEAD_MIB: u64 = 288;
/// The limit of the pod's one container.
const LIMIT_MIB: u64 = 128;

async fn every_process_is_in_it(bed: &Bed) -> Result<()> {
    let parent = Parent::make("kubepods/podone", None)?;
    let pod = pod("grouped").cgroup_parent(parent.path()).run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let pids = pod.record()?.pids;
    let expected = format!("{}/{}", parent.path(), pod.id);
    for pid in [pids.shim, pids.vmm, pids.fs, pids.vsock] {
        for group in groups(pid)? {
            assert_eq!(group, expected, "of process {pid}");
        }
    }
    drop(container);
    pod.remove().await
}

/// A guest that has 2176 MiB, in a group that allows 416: page cache would fill
/// all of the guest's, and the kernel end the VM for it.
async fn page_cache_stays_within_its_limit(bed: &Bed) -> Result<()> {
    let limit = (OVERHEAD_MIB + LIMIT_MIB) << 20;
    let parent = Parent::make("kubepods/podtwo", Some(limit))?;
    let limits = Limits::NONE.memory_mib(i64::try_from(LIMIT_MIB)?);
    let pod = pod("cached")
        .cgroup_parent(parent.path())
        .limits(limits)
        .run(bed)
        .await?;
    // What one that has ended has read is still in the cache.
    for attempt in 0..3 {
        let filling = container("filling", &["sh", "-c", FILL])
            .attempt(attempt)
            .limits(limits)
            .start(&pod)
            .await?;
        assert_eq!(filling.exit_code(FILLING).await?, 0);
        let used = parent.used()? >> 20;
        figure("a pod whose limit is reached", format!("{used} MiB"));
        filling.remove().await?;
    }
    assert_eq!(
        parent.killed()?,
        0,
        "processes that the host's kernel ended"
    );
    pod.remove().await
}

/// As kubelet resizes a container in place: first the pod's group, then the container.
async fn containers_follow_its_limit(bed: &Bed) -> Result<()> {
    let limit = |mib: u64| (OVERHEAD_MIB + mib) << 20;
    let parent = Parent::make("kubepods/podfour", Some(limit(64)))?;
    let limits = |mib| Limits::NONE.memory_mib(mib);
    let pod = pod("raised")
        .cgroup_parent(parent.path())
        .limits(limits(64))
        .run(bed)
        .await?;
    let container = ContainerSpec::idle("main")
        .limits(limits(64))
        .start(&pod)
        .await?;
    // One buffer of that size.
    let take = ["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"];
    let before = container.exec(&take).await?;
    assert_ne!(before.code, Some(0), "{before:?}");
    parent.write_memory("memory.max", "memory.limit_in_bytes", limit(192))?;
    container.update(limits(192)).await?;
    container.ask(&take).await?;
    assert_eq!(parent.killed()?, 0);
    pod.remove().await
}

/// The sandbox's are those of all of the pod: what its containers use, and its VM.
async fn figures_of_the_sandbox_are_the_groups(bed: &Bed) -> Result<()> {
    let parent = Parent::make("kubepods/podfive", None)?;
    let pod = pod("summed").cgroup_parent(parent.path()).run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    main.ask(&[
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/held bs=1M count=60",
    ])
    .await?;
    let (_, of_container) = main.usage().await?;
    if bed.handler == Handler::SandboxApi {
        // Its sandbox is no task, of which `ctr` could ask.
        return pod.remove().await;
    }
    let table = bed
        .ctr_in("k8s.io")
        .done(&["task", "metrics", &pod.id])
        .await?;
    let row = table.lines().find(|line| line.starts_with("memory.usage"));
    let told: Option<u64> = row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
    let told = told.with_context(|| format!("no memory.usage in:\n{table}"))?;
    let counted = parent.used()?;
    ensure!(
        told.abs_diff(counted) < 16 << 20,
        "{told} bytes were told, and the host counts {counted}"
    );
    ensure!(
        told > of_container + (32 << 20),
        "{told} is not more than a container's"
    );
    pod.remove().await
}

/// More than the container's limit, written and read.
const FILL: &str = "for i in 0 1; do dd if=/dev/zero of=/big$i bs=1M count=96; done && \
    cat /big0 /big1 > /dev/null";

/// Longer than that takes.
const FILLING: Duration = Duration::from_secs(50);

async fn one_without_room_for_a_vm_is_refused(bed: &Bed) -> Result<()> {
    let parent = Parent::make("kubepods/podthree", Some(64 << 20))?;
    let result = pod("narrow").cgroup_parent(parent.path()).run(bed).await;
    let error = format!("{:#}", result.err().context("it was started")?);
    ensure!(
        error.contains("allows 64 MiB") && error.contains("overhead.podFixed"),
        "{error}"
    );
    Ok(())
}

/// The group of process `pid` in each hierarchy (`/proc/<pid>/cgroup`, cgroups(7)).
fn groups(pid: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let group = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    Ok(text.lines().filter_map(group).collect())
}

/// The group that kubelet makes for a pod. Dropped, it is removed.
struct Parent {
    path: String,
    /// In every hierarchy.
    folders: Vec<PathBuf>,
}

impl Parent {
    /// Makes it, with a limit of so many bytes of memory.
    fn make(path: &str, memory: Option<u64>) -> Result<Self> {
        let mut parent = Self {
            path: format!("/{path}"),
            folders: Vec::new(),
        };
        for root in roots() {
            let folder = root.join(path);
            fs::create_dir_all(&folder)
                .with_context(|| format!("make control group {}", folder.display()))?;
            hand_down(&root).context("hand the controllers down to pods")?;
            parent.folders.push(folder);
        }
        if let Some(bytes) = memory {
            parent.write_memory("memory.max", "memory.limit_in_bytes", bytes)?;
        }
        Ok(parent)
    }

    fn path(&self) -> &str {
        &self.path
    }

    /// The file of that name, in cgroup v2 or in v1's hierarchy of memory.
    fn memory_file(&self, v2: &str, v1: &str) -> Result<PathBuf> {
        let mut files = self
            .folders
            .iter()
            .flat_map(|folder| [folder.join(v2), folder.join(v1)]);
        files
            .find(|file| file.exists())
            .with_context(|| format!("no control group has {v2} or {v1}"))
    }

    fn write_memory(&self, v2: &str, v1: &str, bytes: u64) -> Result<()> {
        let file = self.memory_file(v2, v1)?;
        fs::write(&file, bytes.to_string()).with_context(|| format!("write {}", file.display()))
    }

    /// Bytes of memory that the pod takes now.
    fn used(&self) -> Result<u64> {
        let file = self.memory_file("memory.current", "memory.usage_in_bytes")?;
        let text = fs::read_to_string(&file)?;
        text.trim()
            .parse()
            .with_context(|| format!("{text:?} is no number"))
    }

    /// How many of its processes were ended for want of memory.
    fn killed(&self) -> Result<u64> {
        let file = self.memory_file("memory.events", "memory.oom_control")?;
        let text = fs::read_to_string(&file)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let count = count.with_context(|| format!("{} does not tell", file.display()))?;
        Ok(count.trim().parse()?)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = fs::remove_dir(folder) {
                eprintln!("control group {} stays: {error}", folder.display());
            }
        }
    }
}

/// Where the hierarchies are mounted: one, or each below the folder.
fn roots() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.procs").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

/// v2 gives a group's children only the controllers that it names.
fn hand_down(root: &Path) -> io::Result<()> {
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else {
        return Ok(());
    };
    let all: Vec<_> = controllers
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    fs::write(root.join("kubepods/cgroup.subtree_control"), all.join(" "))
}

/// Whom the host's kernel ends first is told by each container: the VM is as dear as
/// its dearest.
async fn the_class_is_that_of_the_containers(bed: &Bed) -> Result<()> {
    let pod = pod("classed").run(bed).await?;
    let pids = pod.record()?.pids;
    let score = |pid: u32| -> Result<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
        Ok(text.trim().parse()?)
    };
    let containerd = score(bed.containerd_pid().context("containerd runs")?)?;
    assert_eq!(score(pids.shim)?, (containerd + 1).min(1000));
    let spec = |name, value| ContainerSpec::idle(name).oom_score(value);
    let _cheap = spec("cheap", 900).start(&pod).await?;
    assert_eq!(score(pids.vmm)?, 900);
    let dear = spec("dear", 600).start(&pod).await?;
    for pid in [pids.vmm, pids.fs, pids.vsock] {
        assert_eq!(score(pid)?, 600);
    }
    dear.remove().await?;
    assert_eq!(score(pids.vmm)?, 900);
    pod.remove().await
}
