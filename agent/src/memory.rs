//! Memory that comes while the guest runs. The kernel plugs it in and brings it
//! online by itself; whoever wants to use it has to know when it is there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::Code;
use tokio::time::{Instant, sleep};

/// Nothing announces memory that a block, which is online already, gets: the
/// file has to be looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Memory did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("read how much memory the guest has")]
    Read(#[source] io::Error),
    #[error("find MemTotal in {}", path.display())]
    Format { path: PathBuf },
    #[error("{wanted} MiB more memory than at boot: {found} MiB have come")]
    Late { wanted: u64, found: u64 },
}

impl MemoryError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Read(_) | Self::Format { .. } => Code::Internal,
            Self::Late { .. } => Code::DeadlineExceeded,
        }
    }
}

/// The guest's memory, beside what it was at boot.
pub(crate) struct Memory {
    file: PathBuf,
    /// KiB; `None` if it could not be read.
    at_boot: Option<u64>,
}

impl Memory {
    /// To be called before any has come.
    pub(crate) fn at_boot() -> Self {
        Self::of_file("/proc/meminfo".into())
    }

    fn of_file(file: PathBuf) -> Self {
        let at_boot = total_kib(&file).ok();
        Self { file, at_boot }
    }

    /// Waits until `wanted` MiB have come. What the kernel keeps for the
    /// descriptions of new pages it takes from the old ones, after they were
    /// counted: the total grows by exactly what comes.
    pub(crate) async fn await_added(
        &self,
        wanted: u64,
        patience: Duration,
    ) -> Result<(), MemoryError> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.added_mib()?;
            if found >= wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(MemoryError::Late { wanted, found });
            }
            sleep(LOOK).await;
        }
    }

    fn added_mib(&self) -> Result<u64, MemoryError> {
        let now = total_kib(&self.file)?;
        Ok(now.saturating_sub(self.at_boot.unwrap_or(now)) / 1024)
    }
}

/// `MemTotal` (proc_meminfo(5)), KiB.
fn total_kib(file: &Path) -> Result<u64, MemoryError> {
    let text = std::fs::read_to_string(file).map_err(MemoryError::Read)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| MemoryError::Format {
            path: file.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(file: &Path, kib: u64) {
        let text = format!("MemTotal:  {kib} kB\nMemFree:  1 kB\n");
        std::fs::write(file, text).unwrap();
    }

    #[tokio::test]
    async fn it_waits_for_what_comes_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("meminfo");
        says(&file, 2_042_596);
        let memory = Memory::of_file(file.clone());
        memory.await_added(0, Duration::ZERO).await.unwrap();

        let come = async {
            sleep(LOOK * 2).await;
            says(&file, 2_042_596 + 512 * 1024);
        };
        let (there, ()) = tokio::join!(memory.await_added(512, Duration::from_secs(10)), come);
        there.unwrap();
        let late = memory.await_added(513, LOOK).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert!(late.to_string().contains("512 MiB have come"), "{late}");
    }
}
