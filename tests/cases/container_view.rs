//! What a container finds around it: groups, paths of the kernel, processors,
//! random numbers, time zones, and figures of itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ctl::cri::v1::MountPropagation::PropagationPrivate;

use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::kubelet::PodFolder;
use crate::pod::{Container, ContainerSpec, Limits, container, pod};

cases![
    any: volumes_belong_to_the_pods_group,
    kernels_paths_are_masked_or_not,
    random_numbers_are_there_at_once,
    time_zones,
    figures_are_the_kernels;
    vm: processors_of_a_set,
    processors_of_the_host_alone
];

/// `fsGroup`: kubelet gives the volume to the group, with its set-group-ID bit; the
/// container's user is in the group.
async fn volumes_belong_to_the_pods_group(bed: &Bed) -> Result<()> {
    const GROUP: u32 = 2000;
    let folder = PodFolder::make(bed, "grouped")?;
    let volume = folder.volume("empty-dir", "work")?;
    chown(&volume, None, Some(GROUP)).context("give a volume to a group")?;
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775))?;
    let pod = pod("grouped").run(bed).await?;
    let main = ContainerSpec::idle("main")
        .user(1000)
        .groups(&[GROUP.into(), 3000])
        .mount(&volume, "/work", PropagationPrivate, false)
        .working_dir("/tmp");
    let main = main.start(&pod).await?;
    assert_eq!(main.ask(&["id", "-G"]).await?, "0 2000 3000");
    let write = "umask 002; mkdir /work/folder && echo x > /work/folder/file && \
                 stat -c '%u %g %a' /work /work/folder /work/folder/file";
    let seen = main.ask(&["sh", "-c", write]).await?;
    assert_eq!(seen, "0 2000 2775\n1000 2000 2775\n1000 2000 664");
    let on_host = fs::metadata(volume.join("folder/file"))?;
    assert_eq!((on_host.uid(), on_host.gid()), (1000, GROUP));
    pod.remove().await
}

/// `procMount: Unmasked` is the absence of what kubelet lists otherwise.
async fn kernels_paths_are_masked_or_not(bed: &Bed) -> Result<()> {
    let pod = pod("masked").run(bed).await?;
    let default = ContainerSpec::idle("default");
    let default = default.masked(&["/proc/kcore", "/proc/timer_list"], &["/proc/sys"]);
    let default = default.start(&pod).await?;
    let unmasked = ContainerSpec::idle("unmasked").start(&pod).await?;
    let mounts = ["sh", "-c", "grep -c ' /proc/' /proc/self/mountinfo; true"];
    assert_ne!(default.ask(&mounts).await?, "0");
    assert_eq!(unmasked.ask(&mounts).await?, "0");
    let change = "cat /proc/sys/kernel/domainname > /proc/sys/kernel/domainname";
    let refused = default.exec(&["sh", "-c", change]).await?;
    ensure!(
        refused.stderr.contains("Read-only file system"),
        "{refused:?}"
    );
    unmasked.ask(&["test", "-r", "/proc/timer_list"]).await?;
    pod.remove().await
}

/// `/dev/random` waits until the kernel has enough of them, which a guest that has
/// just begun has from the host.
async fn random_numbers_are_there_at_once(bed: &Bed) -> Result<()> {
    let mut seen = Vec::new();
    for name in ["first", "second"] {
        let pod = pod(name).run(bed).await?;
        let begin = Instant::now();
        let main = container("main", &["sh", "-c", "head -c 32 /dev/random | sha256sum"]);
        let main = main.start(&pod).await?;
        assert_eq!(main.exit_code(Duration::from_secs(10)).await?, 0);
        figure(
            "random numbers: created to ended",
            format!("{:.2?}", begin.elapsed()),
        );
        assert!(begin.elapsed() < patient(Duration::from_secs(10)));
        let logs = main.logs_when(|logs| !logs.stdout.is_empty()).await?;
        seen.push(logs.stdout);
        pod.remove().await?;
    }
    assert_ne!(seen[0], seen[1]);
    Ok(())
}

async fn time_zones(bed: &Bed) -> Result<()> {
    let pod = pod("zones").run(bed).await?;
    let by_name = ContainerSpec::idle("variable").env("TZ", "XYZ-3");
    let by_name = by_name.start(&pod).await?;
    assert_eq!(by_name.ask(&["date", "+%z %Z"]).await?, "+0300 XYZ");
    let zone = Path::new("/usr/share/zoneinfo/Etc/GMT-5");
    let by_file = ContainerSpec::idle("file");
    let by_file = by_file.mount(zone, "/etc/localtime", PropagationPrivate, true);
    let by_file = by_file.start(&pod).await?;
    assert_eq!(by_file.ask(&["date", "+%z"]).await?, "+0500");
    let plain = ContainerSpec::idle("plain").start(&pod).await?;
    assert_eq!(plain.ask(&["date", "+%z"]).await?, "+0000");
    pod.remove().await
}

/// What kubelet is told of a container is what the container's kernel counts.
async fn figures_are_the_kernels(bed: &Bed) -> Result<()> {
    let pod = pod("counted").run(bed).await?;
    let limits = Limits::cpu(1000).memory_mib(128);
    let work = "dd if=/dev/zero of=/dev/shm/held bs=1M count=40; i=0; \
                while [ $i -lt 30000 ]; do i=$((i+1)); done; touch /ready; sleep 1000";
    let main = container("main", &["sh", "-c", work])
        .limits(limits)
        .start(&pod)
        .await?;
    main.ready().await?;
    let (before, after) = (own_figures(&main).await?, main.usage().await?);
    let again = own_figures(&main).await?;
    let (cpu, memory) = after;
    let between = |value: u64, low: u64, high: u64| (low..=high).contains(&value);
    ensure!(
        between(cpu / 1000, before.0, again.0),
        "{cpu} ns of CPU time: {} us before, {} us after",
        before.0,
        again.0
    );
    let spare = 8 << 20;
    ensure!(
        between(
            memory,
            before.1.min(again.1) - spare,
            before.1.max(again.1) + spare
        ),
        "{memory} bytes of memory: {} before, {} after",
        before.1,
        again.1
    );
    assert!(memory > 40 << 20, "{memory} bytes of memory");
    pod.remove().await
}

/// Microseconds of CPU time and bytes of memory without inactive files, as the
/// container's control group counts them: v2's or v1's.
async fn own_figures(container: &Container) -> Result<(u64, u64)> {
    let script = "cd /sys/fs/cgroup; if [ -e cpu.stat ]; then \
        sed -n 's/^usage_usec //p' cpu.stat; u=$(cat memory.current); \
        i=$(sed -n 's/^inactive_file //p' memory.stat); else \
        echo $(($(cat cpuacct/cpuacct.usage) / 1000)); u=$(cat memory/memory.usage_in_bytes); \
        i=$(sed -n 's/^total_inactive_file //p' memory/memory.stat); fi; echo $((u - i))";
    let answer = container.ask(&["sh", "-c", script]).await?;
    let mut numbers = answer.lines().map(str::parse);
    let (Some(Ok(cpu)), Some(Ok(memory))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("no figures: {answer:?}");
    };
    Ok((cpu, memory))
}

/// The CPU manager's exclusive processors, where the VM has such numbers.
async fn processors_of_a_set(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(2000);
    let pod = pod("pinned").limits(limits).run(bed).await?;
    let main = ContainerSpec::idle("main").limits(limits).processors("1");
    let main = main.start(&pod).await?;
    assert_eq!(main.ask(&["cat", "/sys/fs/cgroup/cpuset.cpus"]).await?, "1");
    assert_eq!(main.ask(&["nproc"]).await?, "1");
    let allowed = main
        .ask(&["grep", "Cpus_allowed_list", "/proc/self/status"])
        .await?;
    assert_eq!(allowed, "Cpus_allowed_list:\t1");
    pod.remove().await
}

/// Numbers that only the host has are no reason to fail, nor to use fewer.
async fn processors_of_the_host_alone(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(1000);
    let pod = pod("elsewhere").limits(limits).run(bed).await?;
    let main = ContainerSpec::idle("main")
        .limits(limits)
        .processors("40-43");
    let main = main.start(&pod).await?;
    assert_eq!(main.ask(&["nproc"]).await?, "2");
    pod.remove().await
}
