//! Root file systems of other snapshotters than overlayfs.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::images;
use crate::thin_pool::ThinPool;

cases![
    any: native, file_systems_in_files;
    containerd_2 with Erofs: images_in_files;
    any with DeviceMapper: thin_volumes
];

/// Something of the image, and something of the container's own.
const SCRIPT: [&str; 3] = [
    "sh",
    "-c",
    "set -e; cat /etc/passwd | head -n 1; echo own > /root/new; mv /root/new /root/moved; \
     cat /root/moved; rm /bin/vi; ls /bin/vi || echo gone",
];
const SAID: &str = "root:x:0:0:root:/root:/bin/sh\nown\ngone\n";

async fn with(bed: &Bed, snapshotter: &str, image: &str) -> Result<()> {
    // Twice: nothing of one is in the next.
    for number in 0..2 {
        let id = format!("{snapshotter}-{number}");
        let mut run = bed.ctr_run();
        let more = ["--rm", "--snapshotter", snapshotter, image, &id];
        run.extend(more.iter().chain(&SCRIPT).map(|&word| word.to_owned()));
        let run: Vec<_> = run.iter().map(String::as_str).collect();
        let ended = Ended::of(bed.ctr().command(&run)).await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout, SAID);
    }
    Ok(())
}

/// Copies of folders.
async fn native(bed: &Bed) -> Result<()> {
    with(bed, "native", images::BUSYBOX).await
}

/// `blockfile`: ext4 in a file, mounted by a loop device.
async fn file_systems_in_files(bed: &Bed) -> Result<()> {
    with(bed, "blockfile", images::BUSYBOX).await
}

/// Has layers made by the differ of that name.
const EROFS: &str = r#"
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
"#;

/// `erofs`: each layer an image that is mounted, and an overlay on them.
async fn images_in_files(bed: &Bed) -> Result<()> {
    let settings = bed.add_settings(EROFS)?;
    let log = bed.log_length();
    with(bed, "erofs", images::ODD).await?;
    let made = bed.log_since(log, usize::MAX).matches("--tar=f").count();
    ensure!(made == 2, "{made} layers of two were made by the differ");
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("list mounts")?;
    let layers = mounts.lines().filter(|line| line.contains(" - erofs "));
    ensure!(
        layers.count() == 2,
        "not both layers are mounted:\n{mounts}"
    );
    remove_snapshots(bed, "erofs").await?;
    settings.take_away(|| Ok(()))
}

/// `devmapper`: ext4 on thin volumes, each a snapshot of the one below.
async fn thin_volumes(bed: &Bed) -> Result<()> {
    let pool = ThinPool::make()?;
    let settings = bed.add_settings(&pool.settings(&bed.layout.scratch("devmapper")))?;
    with(bed, "devmapper", images::ODD).await?;
    remove_snapshots(bed, "devmapper").await?;
    settings.take_away(|| pool.remove())
}

/// Those of the images, the upper ones first.
async fn remove_snapshots(bed: &Bed, snapshotter: &str) -> Result<()> {
    let ctr = bed.ctr();
    let command = ["snapshots", "--snapshotter", snapshotter];
    loop {
        let table = ctr.done(&[&command[..], &["list"]].concat()).await?;
        let lines = table.lines().skip(1);
        let keys: Vec<_> = lines
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let mut removed = keys.is_empty();
        for key in &keys {
            let remove = [&command[..], &["remove", key]].concat();
            removed |= ctr.done(&remove).await.is_ok();
        }
        ensure!(removed, "these snapshots stay: {keys:?}");
        if keys.is_empty() {
            break;
        }
    }
    // They are off the records: this has them off the disk.
    ctr.done(&["leases", "create", "--id", "none"]).await?;
    ctr.done(&["leases", "delete", "--sync", "none"]).await?;
    Ok(())
}
