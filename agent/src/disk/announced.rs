//! Disks on a bus that tells of what comes and goes, PCI: a driver takes them by
//! itself, at a time of the kernel's choice.

use std::path::PathBuf;
use std::time::Duration;

use protocol::agent::AttachDiskResponse;
use tokio::time::{Instant, sleep};

use super::{DiskError, Disks, attribute};

/// A disk that takes longer is not coming.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(10);

impl Disks {
    /// Waits for the disk whose name is `serial`, and for its node.
    pub(super) async fn await_announced(
        &self,
        serial: &str,
    ) -> Result<AttachDiskResponse, DiskError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.announced(serial) {
                Ok(disk) if self.node(&disk).exists() => return Ok(self.answer(&disk)),
                Err(error) if Instant::now() > deadline => return Err(error),
                _ => sleep(LOOK).await,
            }
        }
    }

    /// Has all that was written to the disk on the host, if nobody uses it.
    pub(super) fn ready_to_go(&self, serial: &str) -> Result<(), DiskError> {
        self.write_out(self.node(&self.announced(serial)?))
    }

    fn announced(&self, serial: &str) -> Result<PathBuf, DiskError> {
        let disks = std::fs::read_dir(&self.blocks).into_iter().flatten();
        let mut disks = disks.flatten().map(|entry| entry.path());
        let found = disks.find(|disk| attribute(disk, "serial") == serial);
        found.ok_or_else(|| DiskError::NotCome {
            serial: serial.to_owned(),
        })
    }
}
