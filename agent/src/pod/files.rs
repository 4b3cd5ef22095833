//! What the guest's kernel remembers of the share. It does so until it wants the
//! memory; the host keeps every file open meanwhile.

use super::PodError;

/// Names and inodes without users (kernel documentation, `sysctl/vm`).
const NAMES_AND_INODES: &str = "2";

/// Has the kernel forget files that nobody uses.
pub(crate) async fn forget_files() -> Result<(), PodError> {
    // Seconds where there are very many.
    let write = || std::fs::write("/proc/sys/vm/drop_caches", NAMES_AND_INODES);
    let done = tokio::task::spawn_blocking(write).await;
    let done = done.unwrap_or_else(|lost| Err(std::io::Error::other(lost)));
    done.map_err(PodError::Files)
}
