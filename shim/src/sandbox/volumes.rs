//! Block devices of the host that the pod's containers have: disks of the
//! machine, as long as a container needs them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use nix::sys::stat::makedev;
use protocol::agent::AttachDiskResponse;
use protocol::{Failure, Id};
use vmm_api::DiskConfig;

use super::{Sandbox, aside};
use crate::machine::AdjustError;
use crate::spec::{BlockDevice, Number};

/// Why a container does not get a block device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("find the host's block device {number}")]
    Find {
        number: Number,
        #[source]
        source: io::Error,
    },
    #[error("{} is not the block device {number}", path.display())]
    Another { path: PathBuf, number: Number },
    #[error("open the block device {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("put the block device {number} into the VM")]
    Machine {
        number: Number,
        #[source]
        source: AdjustError,
    },
    #[error("have the guest take the block device {number}")]
    Guest {
        number: Number,
        #[source]
        source: Failure,
    },
}

/// The volumes that the machine has.
#[derive(Default)]
pub(super) struct Volumes {
    attached: Vec<Volume>,
    /// How many there ever were: each has a name of its own.
    count: u64,
}

struct Volume {
    /// The host's.
    number: Number,
    read_only: bool,
    serial: String,
    slot: String,
    in_guest: Number,
    users: BTreeSet<Id>,
}

impl Volume {
    /// Whether it can be `device` for one container more. The container's own
    /// rules keep it from writing where it shall not.
    fn serves(&self, device: &BlockDevice) -> bool {
        self.number == device.number && (device.read_only || !self.read_only)
    }
}

impl Sandbox {
    /// Has the guest have `device` for container `id`; its number there.
    ///
    /// # Errors
    ///
    /// See [`VolumeError`]; what was attached for it is gone again.
    pub(crate) async fn attach_volume(
        &self,
        id: &Id,
        device: &BlockDevice,
    ) -> Result<Number, VolumeError> {
        let mut volumes = self.volumes.lock().await;
        let there = volumes.attached.iter_mut().find(|v| v.serves(device));
        if let Some(volume) = there {
            volume.users.insert(id.clone());
            return Ok(volume.in_guest);
        }
        volumes.count += 1;
        let serial = format!("volume-{}", volumes.count);
        let mut volume = self.attach(device, serial).await?;
        volume.users.insert(id.clone());
        let in_guest = volume.in_guest;
        volumes.attached.push(volume);
        Ok(in_guest)
    }

    /// Container `id` needs none any more. What the guest does not let go of
    /// stays until it does, or ends.
    pub(crate) async fn release_volumes(&self, id: &Id) {
        let mut volumes = self.volumes.lock().await;
        let all = std::mem::take(&mut volumes.attached);
        for mut volume in all {
            volume.users.remove(id);
            if !volume.users.is_empty() || !self.detach(&volume).await {
                volumes.attached.push(volume);
            }
        }
    }

    async fn attach(&self, device: &BlockDevice, serial: String) -> Result<Volume, VolumeError> {
        let (number, wanted) = (device.number, *device);
        let fd = aside(move || open(&wanted)).await?;
        let disk = DiskConfig {
            serial,
            read_only: device.read_only,
            queues: 1,
        };
        let adjust = &self.processes.machine.adjust;
        let attached = adjust.attach_disk(&disk, fd).await;
        let slot = attached.map_err(|source| VolumeError::Machine { number, source })?;
        let taken = self.agent.attach_disk(&slot, &disk.serial).await;
        let answer = match taken {
            Ok(answer) => answer,
            Err(source) => {
                let gone = adjust.detach_disk(&disk.serial, &slot).await;
                logged(gone.map_err(|error| error.to_string()), &disk.serial);
                return Err(VolumeError::Guest { number, source });
            }
        };
        Ok(Volume {
            number,
            read_only: device.read_only,
            serial: disk.serial,
            slot,
            in_guest: numbered(&answer),
            users: BTreeSet::new(),
        })
    }

    /// Whether it is gone.
    async fn detach(&self, volume: &Volume) -> bool {
        let released = self.agent.detach_disk(&volume.slot, &volume.serial).await;
        if !logged(released.map_err(|error| error.to_string()), &volume.serial) {
            return false;
        }
        let adjust = &self.processes.machine.adjust;
        let gone = adjust.detach_disk(&volume.serial, &volume.slot).await;
        logged(gone.map_err(|error| error.to_string()), &volume.serial)
    }
}

fn logged(result: Result<(), String>, serial: &str) -> bool {
    if let Err(error) = &result {
        tracing::warn!(error, serial, "take a disk from the VM");
    }
    result.is_ok()
}

fn numbered(answer: &AttachDiskResponse) -> Number {
    Number {
        major: answer.major,
        minor: answer.minor,
    }
}

/// A spec names a device by its number alone; the kernel has its name.
fn open(device: &BlockDevice) -> Result<OwnedFd, VolumeError> {
    let number = device.number;
    let find = |source| VolumeError::Find { number, source };
    let record = std::fs::read_to_string(format!("/sys/dev/block/{number}/uevent"));
    let record = record.map_err(find)?;
    let name = record
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.ok_or_else(|| find(io::ErrorKind::NotFound.into()))?;
    let path = PathBuf::from("/dev").join(name);
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(!device.read_only).open(&path);
    let file = opened.map_err(|source| VolumeError::Open {
        path: path.clone(),
        source,
    })?;
    let metadata = file.metadata().map_err(find)?;
    let wanted = makedev(number.major.into(), number.minor.into());
    match metadata.file_type().is_block_device() && metadata.rdev() == wanted {
        true => Ok(file.into()),
        false => Err(VolumeError::Another { path, number }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(minor: u32, read_only: bool) -> BlockDevice {
        BlockDevice {
            number: Number { major: 7, minor },
            read_only,
        }
    }

    #[test]
    fn a_disk_serves_who_wants_no_more_than_it_gives() {
        let volume = |read_only| Volume {
            number: device(1, false).number,
            read_only,
            serial: String::new(),
            slot: String::new(),
            in_guest: device(0, false).number,
            users: BTreeSet::new(),
        };
        assert!(volume(false).serves(&device(1, false)));
        assert!(volume(false).serves(&device(1, true)));
        assert!(volume(true).serves(&device(1, true)));
        assert!(!volume(true).serves(&device(1, false)));
        assert!(!volume(false).serves(&device(2, true)));
    }

    #[test]
    fn a_device_that_the_host_does_not_have_is_named() {
        let nosuch = BlockDevice {
            number: Number {
                major: 4000,
                minor: 7,
            },
            read_only: true,
        };
        let error = open(&nosuch).unwrap_err().to_string();
        assert_eq!(error, "find the host's block device 4000:7");
    }
}
