//! Devices that come to a machine that runs, and leave it
//! (docs/decisions/0016-hot-plug-by-binding-slots.md).

use std::os::fd::OwnedFd;

use vmm_api::Pluggable;

use crate::virtio::Slot;
use crate::virtio::blk::engine::Engine;
use crate::virtio::blk::{Disk, DiskError};
use crate::virtio::device::Device;
use crate::virtio::net::{Net, NetError};
use crate::virtio::slots::{AttachError, DetachError};

/// A device that does not come, or does not go.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// There is nothing to make it of, or too much.
    #[error("{sent} descriptors were sent for a device of one")]
    Descriptors {
        /// How many.
        sent: usize,
    },
    /// A disk.
    #[error("make a disk")]
    Disk(#[from] DiskError),
    /// An interface.
    #[error("make a network interface")]
    Net(#[from] NetError),
    /// It has no place.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// It has none by that name.
    #[error("{slot:?} is not the name of a slot")]
    Name {
        /// As asked for.
        slot: String,
    },
    /// What is there does not go.
    #[error(transparent)]
    Detach(#[from] DetachError),
}

/// The device of `fds`.
pub(super) fn device(
    what: &Pluggable,
    fds: Vec<OwnedFd>,
    disks: &Engine,
) -> Result<Box<dyn Device>, PlugError> {
    let sent = fds.len();
    let Ok([fd]) = <[OwnedFd; 1]>::try_from(fds) else {
        return Err(PlugError::Descriptors { sent });
    };
    Ok(match what {
        Pluggable::Disk(config) => Box::new(Disk::new(config, fd, disks.clone())?),
        Pluggable::Net(config) => Box::new(Net::new(config, vec![fd])?),
    })
}

/// The slot that the guest knows by that name.
pub(super) fn slot(name: &str) -> Result<Slot, PlugError> {
    Slot::named(name).ok_or_else(|| PlugError::Name {
        slot: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_api::{DiskConfig, NetConfig};

    fn disk(serial: &str) -> Pluggable {
        Pluggable::Disk(DiskConfig {
            serial: serial.into(),
            read_only: false,
            queues: 1,
        })
    }

    fn file() -> OwnedFd {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file.into()
    }

    #[test]
    fn a_device_is_made_of_one_descriptor() {
        let engine = Engine::new().unwrap();
        let made = device(&disk("a"), vec![file()], &engine).unwrap();
        assert_eq!(made.name(), "disk");
        for fds in [Vec::new(), vec![file(), file()]] {
            let sent = fds.len();
            let refused = device(&disk("a"), fds, &engine).err().unwrap();
            assert!(matches!(refused, PlugError::Descriptors { sent: other } if other == sent));
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_told() {
        let engine = Engine::new().unwrap();
        let refused = device(&disk("a b"), vec![file()], &engine).err().unwrap();
        assert!(matches!(refused, PlugError::Disk(DiskError::Serial(_))));
        let net = Pluggable::Net(NetConfig {
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
        });
        let refused = device(&net, vec![file()], &engine).err().unwrap();
        assert!(matches!(refused, PlugError::Net(NetError::Tap(_))));
        let no_slot = slot("virtio-mmio.32").unwrap_err();
        let text = r#""virtio-mmio.32" is not the name of a slot"#;
        assert_eq!(no_slot.to_string(), text);
    }
}
