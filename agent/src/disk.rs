//! Disks that come while the guest runs, and go. The host puts one into a slot
//! of the machine and says which; nothing in the guest notices before its
//! driver is told to look.

mod announced;
mod slot;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use protocol::Code;
use protocol::agent::AttachDiskResponse;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use slot::Slot;
pub(crate) use slot::SlotError;

/// A disk that does not come, or does not go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("there is no device in {slot}")]
    Empty { slot: Slot },
    #[error("the device in {slot} has a driver already")]
    Bound { slot: Slot },
    #[error("have a driver take the device in {slot}")]
    Bind {
        slot: Slot,
        #[source]
        source: io::Error,
    },
    #[error("the device in {slot} is no disk")]
    NoDisk { slot: Slot },
    #[error("the disk in {slot} is {found:?}, not {wanted:?}")]
    Another {
        slot: Slot,
        found: String,
        wanted: String,
    },
    #[error("no disk {serial:?} has come")]
    NotCome { serial: String },
    #[error("the disk {} is in use", path.display())]
    InUse { path: PathBuf },
    #[error("write out what is left for the disk {}", path.display())]
    Flush {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("have the driver let go of the device in {slot}")]
    Unbind {
        slot: Slot,
        #[source]
        source: io::Error,
    },
    #[error("the request was lost")]
    Lost,
}

impl DiskError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Slot(_) => Code::InvalidArgument,
            Self::Empty { .. } | Self::NoDisk { .. } | Self::NotCome { .. } => Code::NotFound,
            Self::Bound { .. } => Code::AlreadyExists,
            Self::Another { .. } | Self::InUse { .. } => Code::FailedPrecondition,
            Self::Bind { .. } | Self::Flush { .. } | Self::Unbind { .. } | Self::Lost => {
                Code::Internal
            }
        }
    }
}

/// Where the kernel shows devices.
#[derive(Clone)]
pub(crate) struct Disks {
    sys: PathBuf,
    blocks: PathBuf,
    dev: PathBuf,
}

impl Default for Disks {
    fn default() -> Self {
        Self {
            sys: "/sys/bus/platform".into(),
            blocks: "/sys/block".into(),
            dev: "/dev".into(),
        }
    }
}

impl Disks {
    /// Has a driver take the disk in `slot`, which `serial` must be the name
    /// of; without a slot, waits for it to come. Its node is there afterwards.
    pub(crate) async fn attach(
        &self,
        slot: &str,
        serial: String,
    ) -> Result<AttachDiskResponse, DiskError> {
        if slot.is_empty() {
            return self.await_announced(&serial).await;
        }
        let (disks, slot) = (self.clone(), Slot::new(slot)?);
        aside(move || disks.take(&slot, &serial)).await
    }

    /// Has the driver let go of the disk in `slot`, if nobody uses it; without
    /// a slot, has the disk ready to go. All that was written is on the host
    /// then.
    pub(crate) async fn detach(&self, slot: &str, serial: String) -> Result<(), DiskError> {
        if slot.is_empty() {
            let disks = self.clone();
            return aside(move || disks.ready_to_go(&serial)).await;
        }
        let (disks, slot) = (self.clone(), Slot::new(slot)?);
        aside(move || disks.release(&slot)).await
    }

    fn take(&self, slot: &Slot, serial: &str) -> Result<AttachDiskResponse, DiskError> {
        let bound = self.tell("bind", slot);
        bound.map_err(|source| match source.raw_os_error() {
            Some(error) if error == Errno::NODEV.raw_os_error() => {
                DiskError::Empty { slot: slot.clone() }
            }
            Some(error) if error == Errno::BUSY.raw_os_error() => {
                DiskError::Bound { slot: slot.clone() }
            }
            _ => DiskError::Bind {
                slot: slot.clone(),
                source,
            },
        })?;
        let found = self.describe(slot, serial);
        if found.is_err() {
            // Nobody shall use what it is instead.
            let _ = self.tell("unbind", slot);
        }
        found
    }

    fn describe(&self, slot: &Slot, serial: &str) -> Result<AttachDiskResponse, DiskError> {
        let disk = self.block_device(slot)?;
        let found = attribute(&disk, "serial");
        if found != serial {
            return Err(DiskError::Another {
                slot: slot.clone(),
                found,
                wanted: serial.to_owned(),
            });
        }
        Ok(self.answer(&disk))
    }

    fn answer(&self, disk: &Path) -> AttachDiskResponse {
        let number = attribute(disk, "dev");
        let (major, minor) = number.split_once(':').unwrap_or_default();
        let number = |text: &str| text.parse().unwrap_or(0);
        AttachDiskResponse {
            path: self.node(disk).to_string_lossy().into_owned(),
            major: number(major),
            minor: number(minor),
            ..Default::default()
        }
    }

    fn release(&self, slot: &Slot) -> Result<(), DiskError> {
        self.write_out(self.node(&self.block_device(slot)?))?;
        self.tell("unbind", slot)
            .map_err(|source| DiskError::Unbind {
                slot: slot.clone(),
                source,
            })
    }

    /// Unless somebody uses it.
    fn write_out(&self, path: PathBuf) -> Result<(), DiskError> {
        let failed = |source| DiskError::Flush {
            path: path.clone(),
            source,
        };
        // With this flag nothing that has claimed a block device is open beside
        // (open(2)): no mount, no other layer.
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        let node = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::BUSY) => return Err(DiskError::InUse { path }),
            opened => File::from(opened.map_err(|errno| failed(errno.into()))?),
        };
        node.sync_all().map_err(failed)
    }

    /// Writes the slot's name to a file of the driver's.
    fn tell(&self, file: &str, slot: &Slot) -> io::Result<()> {
        let path = self.sys.join("drivers/virtio-mmio").join(file);
        let mut options = File::options();
        let mut file = options.write(true).open(path)?;
        io::Write::write_all(&mut file, slot.as_str().as_bytes())
    }

    /// Its folder. The driver has made it before it answers.
    fn block_device(&self, slot: &Slot) -> Result<PathBuf, DiskError> {
        let no_disk = || DiskError::NoDisk { slot: slot.clone() };
        let device = self.sys.join("devices").join(slot.as_str());
        let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut blocks = entries(&device).map(|entry| entry.path().join("block"));
        let disk = blocks.find_map(|block| Some(entries(&block).next()?.path()));
        disk.ok_or_else(no_disk)
    }

    fn node(&self, disk: &Path) -> PathBuf {
        // It has one: it is an entry of a folder.
        self.dev.join(disk.file_name().unwrap_or_default())
    }
}

fn attribute(disk: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(disk.join(name)).unwrap_or_default();
    text.trim_end().to_owned()
}

/// A disk takes its time, and the rest of the pod does not wait for it.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, DiskError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.map_err(|_| DiskError::Lost)?
}

#[cfg(test)]
mod tests;
