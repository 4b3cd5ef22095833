//! Devices that come to a machine that runs, and leave it
//! (docs/decisions/0016-hot-plug-by-binding-slots.md).

use std::os::fd::OwnedFd;

use vmm_api::Pluggable;

use crate::virtio::Slot;
use crate::virtio::blk::engine::Engine;
use crate::virtio::blk::{Disk, DiskError};
use crate::virtio::device::Device;
use crate::virtio::net::{self, Net, NetError};
use crate::virtio::slots::{AttachError, DetachError};

/// A device that does not come, or does not go.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// There is nothing to make it of, or too much.
    #[error("{sent} descriptors were sent for a device of {wanted}")]
    Descriptors {
        /// How many.
        sent: usize,
        /// How many there should be.
        wanted: usize,
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
    Ok(match what {
        Pluggable::Disk(config) => {
            let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|fds| descriptors(&fds, 1))?;
            Box::new(Disk::new(config, fd, disks.clone())?)
        }
        Pluggable::Net(config) => {
            let (taps, vhosts) = net::descriptors(config)?;
            if fds.len() != taps + vhosts {
                return Err(descriptors(&fds, taps + vhosts));
            }
            let mut taps_first = fds;
            let vhosts = taps_first.split_off(taps);
            Box::new(Net::new(config, taps_first, vhosts)?)
        }
    })
}

fn descriptors(fds: &[OwnedFd], wanted: usize) -> PlugError {
    let sent = fds.len();
    PlugError::Descriptors { sent, wanted }
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

    fn net() -> NetConfig {
        NetConfig {
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
            queue_pairs: 1,
            vhost: false,
        }
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
            let told = format!("{sent} descriptors were sent for a device of 1");
            assert_eq!(refused.to_string(), told);
        }
    }

    #[test]
    fn an_interface_is_made_of_its_taps_and_what_moves_its_packets() {
        let engine = Engine::new().unwrap();
        for (queue_pairs, vhost, wanted) in [(1, false, 1), (1, true, 2), (3, true, 6)] {
            let config = NetConfig {
                queue_pairs,
                vhost,
                ..net()
            };
            let fds = |count| (0..count).map(|_| file()).collect();
            let made = |count| device(&Pluggable::Net(config.clone()), fds(count), &engine);
            for sent in [wanted - 1, wanted + 1] {
                let told = format!("{sent} descriptors were sent for a device of {wanted}");
                assert_eq!(made(sent).err().unwrap().to_string(), told);
            }
            let no_tap = made(wanted).err().unwrap();
            assert!(matches!(no_tap, PlugError::Net(NetError::Tap(_))));
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_told() {
        let engine = Engine::new().unwrap();
        let refused = device(&disk("a b"), vec![file()], &engine).err().unwrap();
        assert!(matches!(refused, PlugError::Disk(DiskError::Serial(_))));
        let net = Pluggable::Net(net());
        let refused = device(&net, vec![file()], &engine).err().unwrap();
        assert!(matches!(refused, PlugError::Net(NetError::Tap(_))));
        let no_slot = slot("virtio-mmio.32").unwrap_err();
        let text = r#""virtio-mmio.32" is not the name of a slot"#;
        assert_eq!(no_slot.to_string(), text);
    }
}
