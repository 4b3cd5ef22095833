//! The devices that a machine starts with.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vmm_api::{Descriptor, MachineConfig};

use super::SetupError;
use super::given::Given;
use crate::ports::{self, Lost};
use crate::virtio::balloon::Balloon;
use crate::virtio::blk::Disk;
use crate::virtio::blk::engine::Engine;
use crate::virtio::console::Console;
use crate::virtio::device::Device;
use crate::virtio::net::Net;
use crate::virtio::rng::Rng;
use crate::virtio::target::Target;
use crate::virtio::vhost_user::{self, VhostUser};

/// vsock first: it is what the agent waits for.
pub(super) fn devices(
    config: &MachineConfig,
    given: &mut Given,
    engine: &Engine,
    lost: &Lost,
    balloon: &Arc<Target>,
) -> Result<Vec<Box<dyn Device>>, SetupError> {
    let mut devices: Vec<Box<dyn Device>> = Vec::new();
    if let Some(socket) = given.take(Descriptor::Vsock)? {
        let identity = vhost_user::vsock(config.guest_cid);
        devices.push(Box::new(VhostUser::new(
            identity,
            UnixStream::from(socket),
        )?));
    }
    if let Some(socket) = given.take(Descriptor::Fs)? {
        let identity = vhost_user::fs(&config.share_tag)?;
        devices.push(Box::new(VhostUser::new(
            identity,
            UnixStream::from(socket),
        )?));
    }
    for net in nets(config, given.take_all(Descriptor::Tap))? {
        devices.push(Box::new(net));
    }
    for disk in disks(config, given.take_all(Descriptor::Disk), engine)? {
        devices.push(Box::new(disk));
    }
    devices.push(Box::new(Rng::default()));
    devices.push(Box::new(Balloon::new(Arc::clone(balloon))));
    let what = Descriptor::VirtioConsole;
    if let Some(output) = given.take(what)? {
        let output = console(what, Some(output), lost)?;
        devices.push(Box::new(Console::new(output)));
    }
    Ok(devices)
}

/// The end of a console, nowhere without a descriptor.
pub(super) fn console(
    what: Descriptor,
    output: Option<OwnedFd>,
    lost: &Lost,
) -> Result<ports::Console, SetupError> {
    ports::Console::new(output, lost.clone()).map_err(|source| SetupError::Console { what, source })
}

fn nets(config: &MachineConfig, taps: Vec<OwnedFd>) -> Result<Vec<Net>, SetupError> {
    let nets = &config.nets;
    if nets.len() != taps.len() {
        return Err(SetupError::Taps {
            nets: nets.len(),
            taps: taps.len(),
        });
    }
    let made = nets
        .iter()
        .zip(taps)
        .enumerate()
        .map(|(index, (net, tap))| {
            let failed = |source| SetupError::Net { index, source };
            Net::new(net, vec![tap]).map_err(failed)
        });
    made.collect()
}

fn disks(
    config: &MachineConfig,
    backings: Vec<OwnedFd>,
    engine: &Engine,
) -> Result<Vec<Disk>, SetupError> {
    let disks = &config.disks;
    if disks.len() != backings.len() {
        return Err(SetupError::Disks {
            disks: disks.len(),
            backings: backings.len(),
        });
    }
    let made = disks
        .iter()
        .zip(backings)
        .enumerate()
        .map(|(index, (disk, backing))| {
            let failed = |source| SetupError::Disk { index, source };
            Disk::new(disk, backing, engine.clone()).map_err(failed)
        });
    made.collect()
}
