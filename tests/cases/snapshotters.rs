//! Root file systems of other snapshotters than overlayfs.

use anyhow::Result;

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::task;

cases![
    any: native,
    file_systems_in_files
];

/// Something of the image, and something of the container's own.
const SCRIPT: [&str; 3] = [
    "sh",
    "-c",
    "set -e; cat /etc/passwd | head -n 1; echo own > /root/new; mv /root/new /root/moved; \
     cat /root/moved; rm /bin/vi; ls /bin/vi || echo gone",
];
const SAID: &str = "root:x:0:0:root:/root:/bin/sh\nown\ngone\n";

async fn with(bed: &Bed, snapshotter: &str) -> Result<()> {
    let options = ["--rm", "--snapshotter", snapshotter];
    // Twice: nothing of one is in the next.
    for number in 0..2 {
        let id = format!("{snapshotter}-{number}");
        let ended = Ended::of(task::run(bed, &options, &id, &SCRIPT)).await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout, SAID);
    }
    Ok(())
}

/// Copies of folders.
async fn native(bed: &Bed) -> Result<()> {
    with(bed, "native").await
}

/// `blockfile`: ext4 in a file, mounted by a loop device.
async fn file_systems_in_files(bed: &Bed) -> Result<()> {
    with(bed, "blockfile").await
}
