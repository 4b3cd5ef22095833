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
use crate::virtio::net::{self, Net};
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
    for net in nets(config, given)? {
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

/// Each takes its descriptors; none may be left over.
fn nets(config: &MachineConfig, given: &mut Given) -> Result<Vec<Net>, SetupError> {
    let mut taps = given.take_all(Descriptor::Tap).into_iter();
    let mut vhosts = given.take_all(Descriptor::VhostNet).into_iter();
    let mut made = Vec::new();
    for (index, net) in config.nets.iter().enumerate() {
        let failed = |source| SetupError::Net { index, source };
        let (of_taps, of_vhosts) = net::descriptors(net).map_err(failed)?;
        let taps = taps.by_ref().take(of_taps).collect();
        let vhosts = vhosts.by_ref().take(of_vhosts).collect();
        made.push(Net::new(net, taps, vhosts).map_err(failed)?);
    }
    match (taps.len(), vhosts.len()) {
        (0, 0) => Ok(made),
        (taps, vhosts) => Err(SetupError::NoNet { taps, vhosts }),
    }
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
