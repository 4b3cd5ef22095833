//! Volumes in memory: emptyDir of medium Memory, `/dev/shm`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ctl::cri::v1::MountPropagation::PropagationPrivate;

use crate::bed::Bed;
use crate::harness::cases;
use crate::kubelet::PodFolder;
use crate::pod::{Container, ContainerSpec, Limits, pod};

cases![
    any: size_limit_is_the_end,
    shared_by_containers_and_outlives_them,
    sub_path_is_a_folder_of_it,
    sub_path_is_a_file_of_it,
    in_place_of_dev_shm,
    dev_shm_has_its_size,
    it_is_memory_of_who_writes;
    vm: nothing_of_it_is_on_the_host,
    a_sub_path_does_not_lead_out
];

fn with(name: &str, mounts: &[(&Path, &str)]) -> ContainerSpec {
    let add = |spec: ContainerSpec, (path, point): &(&Path, &str)| {
        spec.mount(path, point, PropagationPrivate, false)
    };
    mounts.iter().fold(ContainerSpec::idle(name), add)
}

/// Bytes that the file system at `point` has room for.
async fn room(container: &Container, point: &str) -> Result<u64> {
    let script = format!("stat -fc '%b %S' {point} | {{ read a b; echo $((a * b)); }}");
    Ok(container.ask(&["sh", "-c", &script]).await?.parse()?)
}

/// Writes so many MiB to `file`.
fn write(file: &str, mib: u32) -> [String; 3] {
    let dd = format!("dd if=/dev/zero of={file} bs=1M count={mib}");
    ["sh".to_owned(), "-c".to_owned(), dd]
}

async fn size_limit_is_the_end(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "limited")?;
    let volume = folder.memory("cache", "8m")?;
    let pod = pod("limited").run(bed).await?;
    let main = with("main", &[(&volume, "/cache")]).start(&pod).await?;
    assert_eq!(room(&main, "/cache").await?, 8 << 20);
    let full = main
        .exec(&write("/cache/file", 9).each_ref().map(String::as_str))
        .await?;
    assert!(full.stderr.contains("No space left"), "{full:?}");
    let size = main.ask(&["stat", "-c", "%s", "/cache/file"]).await?;
    assert_eq!(size, (8 << 20).to_string());
    main.ask(&["rm", "/cache/file"]).await?;
    main.ask(&write("/cache/file", 8).each_ref().map(String::as_str))
        .await?;
    let mode = main.ask(&["stat", "-c", "%a %u %g", "/cache"]).await?;
    assert_eq!(mode, "777 0 0");
    pod.remove().await
}

async fn shared_by_containers_and_outlives_them(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "shared")?;
    let volume = folder.memory("cache", "8m")?;
    let pod = pod("shared").run(bed).await?;
    let mounts = [(volume.as_path(), "/cache")];
    let one = with("one", &mounts).start(&pod).await?;
    let two = with("two", &mounts).start(&pod).await?;
    one.ask(&["sh", "-c", "echo hello > /cache/file"]).await?;
    assert_eq!(two.ask(&["cat", "/cache/file"]).await?, "hello");
    for container in [one, two] {
        container.ready().await?;
        container.stop(Duration::from_secs(5)).await?;
        container.remove().await?;
    }
    let again = with("one", &mounts).attempt(1).start(&pod).await?;
    assert_eq!(again.ask(&["cat", "/cache/file"]).await?, "hello");
    pod.remove().await
}

async fn sub_path_is_a_folder_of_it(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "parts")?;
    let volume = folder.memory("cache", "8m")?;
    let part = folder.sub_path("cache", "a/b", 0)?;
    let pod = pod("parts").run(bed).await?;
    // The part comes first: nobody has the whole yet.
    let one = with("one", &[(&part, "/part")]).start(&pod).await?;
    one.ask(&["sh", "-c", "echo hello > /part/file"]).await?;
    let two = with("two", &[(&volume, "/all"), (&part, "/part")])
        .start(&pod)
        .await?;
    assert_eq!(two.ask(&["cat", "/all/a/b/file"]).await?, "hello");
    assert_eq!(two.ask(&["cat", "/part/file"]).await?, "hello");
    assert_eq!(room(&one, "/part").await?, 8 << 20);
    pod.remove().await
}

/// One that a container before has made.
async fn sub_path_is_a_file_of_it(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "single")?;
    let volume = folder.memory("cache", "8m")?;
    let pod = pod("single").run(bed).await?;
    let one = with("one", &[(&volume, "/cache")]).start(&pod).await?;
    one.ask(&["sh", "-c", "echo hello > /cache/file"]).await?;
    // kubelet, for which nothing is there in a VM's case, makes a folder.
    let part = folder.sub_path("cache", "file", 0)?;
    let two = with("two", &[(&part, "/etc/single")]).start(&pod).await?;
    assert_eq!(two.ask(&["cat", "/etc/single"]).await?, "hello");
    pod.remove().await
}

/// As databases want more than the 64 MiB of a pod's own.
async fn in_place_of_dev_shm(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "database")?;
    let volume = folder.memory("shm", "128m")?;
    let pod = pod("database").run(bed).await?;
    let mounts = [(volume.as_path(), "/dev/shm")];
    let main = with("main", &mounts).start(&pod).await?;
    assert_eq!(room(&main, "/dev/shm").await?, 128 << 20);
    let other = with("other", &mounts).start(&pod).await?;
    main.ask(&["touch", "/dev/shm/segment"]).await?;
    assert_eq!(other.ask(&["ls", "/dev/shm"]).await?, "segment");
    pod.remove().await
}

async fn dev_shm_has_its_size(bed: &Bed) -> Result<()> {
    let pod = pod("shm").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    assert_eq!(room(&main, "/dev/shm").await?, 64 << 20);
    pod.remove().await
}

/// A container that fills it beyond its own limit is ended, and none other.
async fn it_is_memory_of_who_writes(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "charged")?;
    let volume = folder.memory("cache", "256m")?;
    let limits = Limits::NONE.memory_mib(64);
    let pod = pod("charged").limits(limits).run(bed).await?;
    let mounts = [(volume.as_path(), "/cache")];
    let main = with("main", &mounts).limits(limits).start(&pod).await?;
    let other = with("other", &mounts).start(&pod).await?;
    let ended = main
        .exec(&write("/cache/file", 128).each_ref().map(String::as_str))
        .await?;
    assert_eq!(ended.code, Some(137), "{ended:?}");
    other.ask(&["true"]).await?;
    pod.remove().await
}

async fn nothing_of_it_is_on_the_host(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "private")?;
    let volume = folder.memory("keys", "1m")?;
    let pod = pod("private").run(bed).await?;
    let main = with("main", &[(&volume, "/keys")]).start(&pod).await?;
    main.ask(&["sh", "-c", "echo secret > /keys/key && sync"])
        .await?;
    let found = fs::read_dir(&volume).context("list a volume")?.count();
    assert_eq!(found, 0);
    pod.remove().await
}

/// A container makes a link where another one's folder is to be.
async fn a_sub_path_does_not_lead_out(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "hostile")?;
    let volume = folder.memory("cache", "1m")?;
    let pod = pod("hostile").run(bed).await?;
    let main = with("main", &[(&volume, "/cache")]).start(&pod).await?;
    main.ask(&["ln", "-s", "/", "/cache/out"]).await?;
    let part = folder.sub_path("cache", "out", 0)?;
    let Err(error) = with("second", &[(&part, "/part")]).start(&pod).await else {
        anyhow::bail!("a link was followed");
    };
    let error = format!("{error:#}");
    assert!(
        error.contains("\"out\"") && error.contains("symbolic link"),
        "{error}"
    );
    pod.remove().await
}
