//! Volumes that kubelet writes, and writes anew while the pod runs: configMap,
//! secret, downwardAPI, projected.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ctl::cri::v1::MountPropagation::PropagationPrivate;
use tokio::time::{Instant, sleep};

use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::images::TRIALS;
use crate::kubelet::{PodFolder, Written};
use crate::pod::{Container, ContainerSpec, Logs, container, pod};

cases![
    any: content_modes_and_links,
    new_content_arrives_in_all_containers,
    inotify_tells_of_new_content,
    a_program_in_a_volume_runs,
    a_sub_path_stays_what_it_was,
    many_changes_end_with_the_last,
    a_large_volume_is_served_too;
    vm: what_is_not_kubelets_is_not_copied
];

/// A guest sees a change of the host within a second.
const SEEN: Duration = Duration::from_secs(20);

/// kubelet mounts all four read-only.
fn spec(name: &str, volume: &Written) -> ContainerSpec {
    ContainerSpec::idle(name)
        .image(TRIALS)
        .mount(&volume.path, "/volume", PropagationPrivate, true)
}

/// Waits until `command` says `expected`.
async fn await_answer(container: &Container, command: &[&str], expected: &str) -> Result<()> {
    let deadline = Instant::now() + patient(SEEN);
    loop {
        let ended = container.exec(command).await?;
        if ended.stdout.trim_end() == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{command:?} says {ended:?}, not {expected:?}");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn content_modes_and_links(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "content")?;
    let files = [("key", "value"), ("deep/er", "text")];
    for plugin in ["configmap", "secret", "downward-api", "projected"] {
        let volume = Written::make(&folder, plugin, "v", &files)?;
        let pod = pod("content").run(bed).await?;
        let main = spec("main", &volume).start(&pod).await?;
        let content = main.ask(&["cat", "/volume/key", "/volume/deep/er"]).await?;
        assert_eq!(content, "valuetext", "{plugin}");
        let link = main.ask(&["readlink", "/volume/key"]).await?;
        assert_eq!(link, "..data/key");
        let mode = main
            .ask(&["stat", "-Lc", "%a", "/volume", "/volume/key"])
            .await?;
        assert_eq!(mode, "777\n640");
        let written = main.exec(&["touch", "/volume/new"]).await?;
        assert!(written.stderr.contains("Read-only"), "{written:?}");
        pod.remove().await?;
    }
    Ok(())
}

async fn new_content_arrives_in_all_containers(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "updated")?;
    let mut volume = Written::make(&folder, "configmap", "v", &[("key", "1"), ("old", "x")])?;
    let pod = pod("updated").run(bed).await?;
    let one = spec("one", &volume).start(&pod).await?;
    let two = spec("two", &volume).start(&pod).await?;
    volume.write(&[("key", "2"), ("new", "y")])?;
    let began = Instant::now();
    for container in [&one, &two] {
        await_answer(container, &["cat", "/volume/key"], "2").await?;
        await_answer(container, &["ls", "/volume"], "key\nnew").await?;
    }
    figure(
        "new content of a configMap",
        format!("{:.2?}", began.elapsed()),
    );
    // One that comes later has it too, and follows.
    let late = spec("late", &volume).start(&pod).await?;
    assert_eq!(late.ask(&["cat", "/volume/key"]).await?, "2");
    volume.write(&[("key", "3")])?;
    await_answer(&late, &["cat", "/volume/key"], "3").await?;
    pod.remove().await
}

/// A program that has begun to watch is told by its own kernel.
async fn inotify_tells_of_new_content(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "watched")?;
    let mut volume = Written::make(&folder, "secret", "v", &[("key", "1")])?;
    let pod = pod("watched").run(bed).await?;
    let watching = container("watching", &["trial", "watch", "/volume", "..data"])
        .image(TRIALS)
        .mount(&volume.path, "/volume", PropagationPrivate, true)
        .start(&pod)
        .await?;
    let said = |word: &'static str| move |logs: &Logs| logs.stdout.contains(word);
    watching.logs_when(said("watching")).await?;
    volume.write(&[("key", "2")])?;
    assert_eq!(watching.exit_code(SEEN).await?, 0);
    let logs = watching.logs_when(said("..data")).await?.stdout;
    assert!(logs.contains("IN_MOVED_TO) ..data"), "{logs}");
    pod.remove().await
}

async fn a_program_in_a_volume_runs(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "program")?;
    let script = [("run", "#!/bin/sh\necho ran\n")];
    let volume = Written::make(&folder, "configmap", "v", &script)?;
    let file = volume.path.join("run");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(file, mode).context("make a file executable")?;
    let pod = pod("program").run(bed).await?;
    let main = spec("main", &volume).start(&pod).await?;
    assert_eq!(main.ask(&["/volume/run"]).await?, "ran");
    pod.remove().await
}

/// kubelet binds the file itself: what it writes later is another file.
async fn a_sub_path_stays_what_it_was(bed: &Bed) -> Result<()> {
    let mut folder = PodFolder::make(bed, "fixed")?;
    let mut volume = Written::make(&folder, "configmap", "v", &[("key", "1")])?;
    let file = std::fs::canonicalize(volume.path.join("key")).context("find a file")?;
    let path = folder.bind(&file, "volume-subpaths/v/main/0")?;
    let pod = pod("fixed").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .mount(&path, "/etc/key", PropagationPrivate, true)
        .mount(&volume.path, "/volume", PropagationPrivate, true)
        .start(&pod)
        .await?;
    volume.write(&[("key", "2")])?;
    await_answer(&main, &["cat", "/volume/key"], "2").await?;
    assert_eq!(main.ask(&["cat", "/etc/key"]).await?, "1");
    pod.remove().await
}

async fn many_changes_end_with_the_last(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "changes")?;
    let mut volume = Written::make(&folder, "projected", "v", &[("key", "0")])?;
    let pod = pod("changes").run(bed).await?;
    let main = spec("main", &volume).start(&pod).await?;
    for number in 1..=50 {
        let text = number.to_string();
        volume.write(&[("key", &text), (&format!("name-{number}"), "")])?;
        sleep(Duration::from_millis(10)).await;
    }
    await_answer(&main, &["cat", "/volume/key"], "50").await?;
    await_answer(&main, &["ls", "/volume"], "key\nname-50").await?;
    let folders = main
        .ask(&["sh", "-c", "ls -a /volume | grep -c '^\\.\\.2'"])
        .await?;
    assert_eq!(folders, "1", "folders of before are left");
    pod.remove().await
}

/// Larger than what the guest copies: seen within a second or so all the same.
async fn a_large_volume_is_served_too(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "large")?;
    let large = "x".repeat(17 << 20);
    let files = |key| [("key", key), ("large", large.as_str())];
    let mut volume = Written::make(&folder, "projected", "v", &files("1"))?;
    let pod = pod("large").run(bed).await?;
    let main = spec("main", &volume).start(&pod).await?;
    let size = main.ask(&["stat", "-Lc", "%s", "/volume/large"]).await?;
    assert_eq!(size, large.len().to_string());
    volume.write(&files("2"))?;
    await_answer(&main, &["cat", "/volume/key"], "2").await?;
    pod.remove().await
}

/// A volume of another kind that looks the same is the host's, file by file.
async fn what_is_not_kubelets_is_not_copied(bed: &Bed) -> Result<()> {
    let folder = PodFolder::make(bed, "csi")?;
    let volume = Written::make(&folder, "csi", "v", &[("key", "1")])?;
    let pod = pod("csi").run(bed).await?;
    let main = spec("main", &volume).start(&pod).await?;
    std::fs::write(volume.path.join("beside"), "2").context("write a file")?;
    await_answer(&main, &["cat", "/volume/beside"], "2").await?;
    let kind = main.ask(&["stat", "-fc", "%T", "/volume"]).await?;
    assert_ne!(kind, "tmpfs");
    pod.remove().await
}
