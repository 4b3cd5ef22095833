//! Block devices of the host in a pod's containers (`volumeMode: Block`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::bed::Bed;
use crate::harness::cases;
use crate::loop_device::LoopDevice;
use crate::pod::{Container, ContainerSpec, pod};

cases![
    any: written_by_one_and_read_by_the_next,
    read_only,
    anywhere_in_the_container,
    privileged_too;
    vm: disk_in_a_file,
    reads_are_limited,
    goes_with_the_last_container,
    device_that_the_guest_does_not_have,
    device_that_the_guest_has_too
];

const PATH: &str = "/dev/volume";

/// As kubelet asks for a volume, and for one that is read-only.
const WRITABLE: &str = "mrw";
const READABLE: &str = "r";

/// In the container, 64 KiB into the volume.
const WRITE: &str = "printf hello | dd of=/dev/volume bs=1 seek=65536 conv=fsync 2>&1";
const READ: &str = "dd if=/dev/volume bs=1 skip=65536 count=5 2>/dev/null";

async fn end(container: Container) -> Result<()> {
    container.stop(Duration::from_secs(5)).await?;
    container.remove().await
}

async fn written_by_one_and_read_by_the_next(bed: &Bed) -> Result<()> {
    let volume = LoopDevice::new(8)?;
    let pod = pod("volume").run(bed).await?;
    for attempt in 0..2 {
        let spec = ContainerSpec::idle("main").attempt(attempt);
        let spec = spec.device(volume.device(), PATH, WRITABLE);
        let main = spec.start(&pod).await?;
        let kind = main.ask(&["stat", "-c", "%F %a", PATH]).await?;
        assert!(kind.starts_with("block special file 6"), "{kind}");
        assert_eq!(
            main.ask(&["sh", "-c", "blockdev --getsize64 /dev/volume"])
                .await?,
            "8388608"
        );
        match attempt {
            0 => main.ask(&["sh", "-c", WRITE]).await?,
            _ => main.ask(&["sh", "-c", READ]).await?,
        };
        let content = volume.content()?;
        let found = content.get(65_536..65_541).context("8 MiB are there")?;
        assert_eq!(found, b"hello");
        assert_eq!(main.ask(&["sh", "-c", READ]).await?, "hello");
        main.ready().await?;
        end(main).await?;
    }
    pod.remove().await
}

async fn read_only(bed: &Bed) -> Result<()> {
    let volume = LoopDevice::new(8)?;
    let pod = pod("read-only").run(bed).await?;
    let spec = ContainerSpec::idle("main").device(volume.device(), PATH, READABLE);
    let main = spec.start(&pod).await?;
    assert_eq!(main.exec(&["sh", "-c", READ]).await?.code, Some(0));
    assert_ne!(main.exec(&["sh", "-c", WRITE]).await?.code, Some(0));
    // Beside one that may write.
    let spec = ContainerSpec::idle("writer").device(volume.device(), PATH, WRITABLE);
    let writer = spec.start(&pod).await?;
    writer.ask(&["sh", "-c", WRITE]).await?;
    let spec = ContainerSpec::idle("reader").device(volume.device(), PATH, READABLE);
    let reader = spec.start(&pod).await?;
    assert_eq!(reader.ask(&["sh", "-c", READ]).await?, "hello");
    assert_ne!(reader.exec(&["sh", "-c", WRITE]).await?.code, Some(0));
    pod.remove().await
}

/// Where Kubernetes' own tests have one.
async fn anywhere_in_the_container(bed: &Bed) -> Result<()> {
    let volume = LoopDevice::new(8)?;
    let pod = pod("anywhere").run(bed).await?;
    let path = "/mnt/volume1";
    let spec = ContainerSpec::idle("main").device(volume.device(), path, WRITABLE);
    let main = spec.start(&pod).await?;
    let kind = main.ask(&["stat", "-c", "%F %a", path]).await?;
    assert!(kind.starts_with("block special file 6"), "{kind}");
    main.ask(&["sh", "-c", &WRITE.replace(PATH, path)]).await?;
    assert_eq!(volume.content()?.get(65_536..65_541), Some(&b"hello"[..]));
    pod.remove().await
}

/// It is not told by a rule of its own there.
async fn privileged_too(bed: &Bed) -> Result<()> {
    let volume = LoopDevice::new(8)?;
    let pod = pod("privileged").privileged().run(bed).await?;
    let spec = ContainerSpec::idle("main").privileged();
    let spec = spec.device(volume.device(), PATH, WRITABLE);
    let main = spec.start(&pod).await?;
    main.ask(&["sh", "-c", WRITE]).await?;
    assert_eq!(volume.content()?.get(65_536..65_541), Some(&b"hello"[..]));
    pod.remove().await
}

/// What a privileged container is privileged for: devices of the guest's kernel. A
/// disk of the host's is not among them.
const IN_A_FILE: &str = "set -e
    test -c /dev/fuse
    : <> /dev/fuse
    test -c /dev/kmsg
    echo seen > /dev/kmsg
    if ls /dev | grep -E '^(sd|vd|xvd|nvme|dm-)'; then exit 1; fi
    dd if=/dev/zero of=/disk bs=1M count=8 2>/dev/null
    loop=$(losetup -f)
    losetup $loop /disk
    mke2fs -F $loop >/dev/null
    mkdir /made
    mount -t ext4 $loop /made
    echo hello > /made/file
    umount /made
    losetup -d $loop
    grep -c hello /disk";

async fn disk_in_a_file(bed: &Bed) -> Result<()> {
    let pod = pod("loop").privileged().run(bed).await?;
    let main = ContainerSpec::idle("main").privileged().start(&pod).await?;
    assert_eq!(main.ask(&["sh", "-c", IN_A_FILE]).await?, "1");
    pod.remove().await
}

/// A class of containerd's, named by an annotation: so many bytes a second.
async fn reads_are_limited(bed: &Bed) -> Result<()> {
    let volume = LoopDevice::new(8)?;
    let classes = bed.layout.scratch("blockio.yaml");
    let device = volume.device().display();
    let slow = format!("Classes:\n  slow:\n  - Devices: [{device}]\n    ThrottleReadBps: 1M\n");
    fs::write(&classes, slow)?;
    let settings = bed.add_settings(&format!(
        "[plugins.\"io.containerd.service.v1.tasks-service\"]\n  blockio_config_file = {classes:?}\n"
    ))?;
    let pod = pod("slow").annotation("blockio.resources.beta.kubernetes.io/pod", "slow");
    let pod = pod.run(bed).await?;
    let spec = ContainerSpec::idle("main").device(volume.device(), PATH, WRITABLE);
    let main = spec.start(&pod).await?;
    let limits = main.ask(&["cat", "/sys/fs/cgroup/io.max"]).await?;
    assert!(limits.contains(" rbps=1000000 wbps=max "), "{limits:?}");
    let began = Instant::now();
    main.ask(&["dd", "if=/dev/volume", "of=/dev/null", "bs=1M", "count=4"])
        .await?;
    let took = began.elapsed();
    ensure!(took > Duration::from_secs(2), "4 MiB took {took:?}");
    pod.remove().await?;
    fs::remove_file(&classes)?;
    settings.take_away(|| Ok(()))
}

/// The disks that the guest has.
async fn disks(container: &Container) -> Result<String> {
    container
        .ask(&["sh", "-c", "ls /sys/block | grep ^vd || true"])
        .await
}

async fn goes_with_the_last_container(bed: &Bed) -> Result<()> {
    let (first, second) = (LoopDevice::new(8)?, LoopDevice::new(16)?);
    let pod = pod("disks").run(bed).await?;
    let witness = ContainerSpec::idle("witness").start(&pod).await?;
    let spec = |name: &str| ContainerSpec::idle(name).device(first.device(), PATH, WRITABLE);
    let one = spec("one").start(&pod).await?;
    let spec = spec("two").device(second.device(), "/dev/other", WRITABLE);
    let two = spec.start(&pod).await?;
    let size = "blockdev --getsize64 /dev/other";
    assert_eq!(two.ask(&["sh", "-c", size]).await?, "16777216");
    assert_eq!(disks(&witness).await?, "vda\nvdb");
    one.ready().await?;
    end(one).await?;
    assert_eq!(disks(&witness).await?, "vda\nvdb");
    two.ask(&["sh", "-c", WRITE]).await?;
    two.ready().await?;
    end(two).await?;
    assert_eq!(disks(&witness).await?, "");
    assert_eq!(first.content()?.get(65_536..65_541), Some(&b"hello"[..]));
    pod.remove().await
}

async fn device_that_the_guest_does_not_have(bed: &Bed) -> Result<()> {
    let node = Path::new("/run/nosuch");
    // Numbers for local use: no driver has them.
    let made = Command::new("mknod")
        .arg(node)
        .args(["c", "249", "77"])
        .status();
    ensure!(made.context("run mknod")?.success(), "mknod failed");
    let pod = pod("device").run(bed).await?;
    let spec = ContainerSpec::idle("main").device(node, "/dev/nosuch", WRITABLE);
    let Err(error) = spec.start(&pod).await else {
        bail!("the container runs without its device");
    };
    std::fs::remove_file(node).context("remove a device node")?;
    let text = format!("{error:#}");
    for words in [
        "/dev/nosuch",
        "249:77",
        "only block devices come from the host",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    pod.remove().await
}

async fn device_that_the_guest_has_too(bed: &Bed) -> Result<()> {
    let pod = pod("device").run(bed).await?;
    let spec = ContainerSpec::idle("main").device(Path::new("/dev/full"), "/dev/filled", "rw");
    let main = spec.start(&pod).await?;
    let full = main.exec(&["sh", "-c", "echo x > /dev/filled"]).await?;
    assert!(full.stderr.contains("No space left"), "{full:?}");
    pod.remove().await
}
