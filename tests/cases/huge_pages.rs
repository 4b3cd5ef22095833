//! Huge pages: limits `hugepages-2Mi` and `hugepages-1Gi`, emptyDir of medium
//! HugePages. The VM is larger by them, and its kernel keeps them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ctl::cri::v1::MountPropagation::PropagationPrivate;

use super::errors::refused_container;
use super::resize::await_memory;
use super::sizing::{check, look};
use crate::bed::Bed;
use crate::harness::cases;
use crate::images::TRIALS;
use crate::kubelet::PodFolder;
use crate::pod::{Container, ContainerSpec, Limits, pod};

cases![
    vm: a_container_maps_what_it_may,
    limits_are_each_containers_own,
    a_volume_is_shared_by_containers,
    two_sizes_in_one_pod,
    changed_in_place,
    more_than_the_vm_can_have,
    a_volume_without_a_limit_is_refused
];

/// Exit code of a process that touched memory which could not be had (SIGBUS).
const BUS_ERROR: i32 = 128 + 7;

fn spec(name: &str, limits: Limits) -> ContainerSpec {
    ContainerSpec::idle(name).image(TRIALS).limits(limits)
}

fn with(spec: ContainerSpec, volume: &Path, point: &str) -> ContainerSpec {
    spec.mount(volume, point, PropagationPrivate, false)
}

/// MiB of huge pages of 2 MiB that the guest keeps, as programs see it.
async fn kept(container: &Container) -> Result<u64> {
    let words = "grep HugePages_Total /proc/meminfo | tr -dc 0-9";
    let pages: u64 = container.ask(&["sh", "-c", words]).await?.parse()?;
    Ok(pages * 2)
}

/// What `trial map-huge` says to so many pages of 2 MiB.
async fn map(container: &Container, pages: u64, more: &[&str]) -> Result<String> {
    let pages = pages.to_string();
    // What a signal ends is not to be written down on the root file system.
    let bare = ["sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"];
    let command = [&bare[..], &["trial", "map-huge", "2", &pages], more].concat();
    let ended = container.exec(&command).await?;
    Ok(match ended.code {
        Some(0) => ended.stdout.trim().to_owned(),
        Some(1) => ended.stderr.trim().to_owned(),
        code => format!("{code:?}"),
    })
}

fn no_memory(said: &str) {
    assert!(
        said.ends_with("Cannot allocate memory (os error 12)"),
        "{said}"
    );
}

async fn a_container_maps_what_it_may(bed: &Bed) -> Result<()> {
    let pod = pod("mapping").run(bed).await?;
    let staying = ContainerSpec::idle("staying").start(&pod).await?;
    check(&look(&staying).await?, 1, 2048)?;
    let main = spec("main", Limits::NONE.huge_mib(64)).start(&pod).await?;
    check(&look(&main).await?, 1, 2048 + 64)?;
    assert_eq!(kept(&main).await?, 64);
    let limits = main.ask(&["sh", "-c", "cat /sys/fs/cgroup/hugetlb.2MB.max"]);
    assert_eq!(limits.await?, (64 << 20).to_string());
    assert_eq!(map(&main, 32, &[]).await?, "ok");
    no_memory(&map(&main, 33, &[]).await?);
    assert_eq!(main.ask(&["trial", "share-huge", "2", "32"]).await?, "ok");
    // There is none of another size.
    let other = main.exec(&["trial", "map-huge", "1024", "1"]).await?;
    no_memory(other.stderr.trim());

    main.stop(Duration::from_secs(5)).await?;
    main.remove().await?;
    assert_eq!(kept(&staying).await?, 0);
    await_memory(&staying, 2048).await?;
    check(&look(&staying).await?, 1, 2048)?;
    pod.remove().await
}

/// The guest keeps enough for both, and each gets its own share of it.
async fn limits_are_each_containers_own(bed: &Bed) -> Result<()> {
    let limits = Limits::NONE.huge_mib(32);
    let pod = pod("apart").run(bed).await?;
    let one = spec("one", limits).start(&pod).await?;
    let two = spec("two", limits).start(&pod).await?;
    assert_eq!(kept(&two).await?, 64);
    for container in [&one, &two] {
        assert_eq!(map(container, 16, &[]).await?, "ok");
        no_memory(&map(container, 17, &[]).await?);
        // Promised to nobody, it is refused when it is touched.
        let touched = map(container, 17, &["--unreserved"]).await?;
        assert_eq!(touched, format!("{:?}", Some(BUS_ERROR)));
    }
    pod.remove().await
}

async fn a_volume_is_shared_by_containers(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "pages")?;
    let volume = folder.huge_pages("pages", "2M")?;
    let limits = Limits::NONE.huge_mib(16);
    let pod = pod("pages").run(bed).await?;
    let one = with(spec("one", limits), &volume, "/pages")
        .start(&pod)
        .await?;
    let two = with(spec("two", limits), &volume, "/pages")
        .start(&pod)
        .await?;
    let mounts = one.ask(&["grep", " /pages ", "/proc/mounts"]).await?;
    assert!(
        mounts.contains("hugetlbfs") && mounts.contains("pagesize=2M"),
        "{mounts}"
    );
    assert_eq!(map(&one, 8, &["--file", "/pages/file"]).await?, "ok");
    no_memory(&map(&one, 9, &["--file", "/pages/more"]).await?);
    let look = ["sh", "-c", "stat -c %s /pages/file; head -c 4 /pages/file"];
    assert_eq!(two.ask(&look).await?, format!("{}\npage", 16 << 20));
    let mode = one.ask(&["stat", "-c", "%a %u %g", "/pages"]).await?;
    assert_eq!(mode, "755 0 0");
    let found = std::fs::read_dir(&volume).context("list a volume")?.count();
    assert_eq!(found, 0, "files on the host");

    // What is in it is as old as the pod, not as the container that wrote it.
    one.stop(Duration::from_secs(5)).await?;
    one.remove().await?;
    assert_eq!(two.ask(&look).await?, format!("{}\npage", 16 << 20));
    pod.remove().await
}

/// A page of 1 GiB needs that much memory in one piece, of what the VM had when it
/// began.
async fn two_sizes_in_one_pod(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "sizes")?;
    let small = folder.huge_pages("small", "2M")?;
    let large = folder.huge_pages("large", "1G")?;
    let memory = "io.katacontainers.config.hypervisor.default_memory";
    let pod = pod("sizes").annotation(memory, "6144").run(bed).await?;
    let main = spec("main", Limits::NONE.huge_mib(8).huge_gib(1));
    let main = with(with(main, &small, "/small"), &large, "/large");
    let main = main.start(&pod).await?;
    assert_eq!(map(&main, 4, &["--file", "/small/file"]).await?, "ok");
    let large = ["trial", "map-huge", "1024", "1", "--file", "/large/file"];
    assert_eq!(main.ask(&large).await?, "ok");
    let sizes = main.ask(&["stat", "-fc", "%S", "/small", "/large"]).await?;
    assert_eq!(sizes, format!("{}\n{}", 2 << 20, 1 << 30));
    pod.remove().await
}

async fn changed_in_place(bed: &Bed) -> Result<()> {
    let pod = pod("changed").run(bed).await?;
    let main = spec("main", Limits::NONE.huge_mib(16)).start(&pod).await?;
    for mib in [48, 8] {
        main.update(Limits::NONE.huge_mib(mib)).await?;
        check(&look(&main).await?, 1, 2048 + mib)?;
        assert_eq!(kept(&main).await?, mib);
        assert_eq!(map(&main, mib / 2, &[]).await?, "ok");
        no_memory(&map(&main, mib / 2 + 1, &[]).await?);
    }
    pod.remove().await
}

async fn more_than_the_vm_can_have(bed: &Bed) -> Result<()> {
    let giant = spec("main", Limits::NONE.huge_mib(1 << 20));
    refused_container(bed, "too many huge pages", giant, &["guest.max_memory_mib"]).await?;
    let large = spec("main", Limits::NONE.huge_mib(16 << 10));
    let words = ["guest.hotplug_memory_mib"];
    refused_container(bed, "more huge pages than can come", large, &words).await?;

    let pod = pod("refused").run(bed).await?;
    let main = spec("main", Limits::NONE.huge_mib(16)).start(&pod).await?;
    let Err(error) = main.update(Limits::NONE.huge_mib(16 << 10)).await else {
        bail!("it was accepted");
    };
    let error = format!("{error:#}");
    assert!(error.contains("guest.hotplug_memory_mib"), "{error}");
    assert_eq!(kept(&main).await?, 16);
    check(&look(&main).await?, 1, 2048 + 16)?;
    pod.remove().await
}

/// As where containerd tells nobody of limits, and kubelet has no control group to
/// write them to.
async fn a_volume_without_a_limit_is_refused(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "unlimited")?;
    let volume = folder.huge_pages("pages", "2M")?;
    let spec = with(spec("main", Limits::NONE), &volume, "/pages");
    let words = ["disable_hugetlb_controller", "2 MiB", "empty-dir/pages"];
    refused_container(bed, "huge pages without a limit", spec, &words).await
}
