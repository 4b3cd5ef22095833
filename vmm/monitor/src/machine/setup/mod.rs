//! A machine's configuration, checked, with its files open.

mod devices;
mod error;
mod given;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vmm_api::{Descriptor, MachineConfig};

use self::devices::{console, devices};
pub use self::error::SetupError;
use self::given::Given;
use crate::boot::{Images, MOST_CPUS};
use crate::ports::{Console, Lost};
use crate::virtio::blk::engine::Engine;
use crate::virtio::device::Device;
use crate::virtio::target::Target;

/// Most memory that can come later, MiB: KVM has 32764 slots on x86, and each
/// block takes one.
const MOST_LATE_MIB: u64 = 256 << 10;

/// What a machine is made of.
pub struct Setup {
    /// Processors at its start.
    pub vcpus: u8,
    /// Processors that it can ever have.
    pub most_vcpus: u8,
    /// Guest memory at its start, MiB.
    pub memory_mib: u64,
    /// Guest memory that it can ever have, MiB.
    pub most_memory_mib: u64,
    /// `/dev/kvm`.
    pub kvm: OwnedFd,
    /// What it starts.
    pub images: Images,
    /// Kernel parameters beside the machine's own.
    pub parameters: String,
    /// Where its console goes.
    pub console: Console,
    /// What its consoles lose.
    pub lost: Lost,
    /// What its balloon is told.
    pub balloon: Arc<Target>,
    /// Its devices, in the order of their slots.
    pub devices: Vec<Box<dyn Device>>,
    /// Who does the work of its disks, those that come later too.
    pub disks: Engine,
}

impl Setup {
    /// Checks `config`; `descriptors` say what each of `fds` is.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn check(
        config: &MachineConfig,
        descriptors: &[Descriptor],
        fds: Vec<OwnedFd>,
    ) -> Result<Self, SetupError> {
        let (vcpus, most_vcpus) = vcpus(config)?;
        let mut given = Given::new(descriptors, fds)?;
        let disks = Engine::new()?;
        let lost = Lost::default();
        let balloon = Target::new().map_err(SetupError::Balloon)?;
        let images = Images {
            kernel: File::from(given.need(Descriptor::Kernel)?),
            initramfs: File::from(given.need(Descriptor::Initramfs)?),
        };
        Ok(Self {
            vcpus,
            most_vcpus,
            memory_mib: config.memory_mib,
            most_memory_mib: most_memory(config)?,
            images,
            parameters: config.kernel_parameters.clone(),
            console: console(Descriptor::Console, given.take(Descriptor::Console)?, &lost)?,
            devices: devices(config, &mut given, &disks, &lost, &balloon)?,
            balloon,
            lost,
            disks,
            kvm: given.need(Descriptor::Kvm)?,
        })
    }
}

/// At the start, and at most.
fn vcpus(config: &MachineConfig) -> Result<(u8, u8), SetupError> {
    let (vcpus, most) = (config.vcpus, config.max_vcpus);
    let vcpus = u8::try_from(vcpus)
        .ok()
        .filter(|count| (1..=MOST_CPUS).contains(count))
        .ok_or(SetupError::Vcpus { vcpus })?;
    let most = match most {
        0 => vcpus,
        _ => u8::try_from(most)
            .ok()
            .filter(|count| (vcpus..=MOST_CPUS).contains(count))
            .ok_or(SetupError::MostVcpus { most, vcpus })?,
    };
    Ok((vcpus, most))
}

/// A machine whose memory is too much or too little is refused when it is made.
fn most_memory(config: &MachineConfig) -> Result<u64, SetupError> {
    let (memory, most) = (config.memory_mib, config.max_memory_mib);
    match most {
        0 => Ok(memory),
        _ if most < memory || most - memory > MOST_LATE_MIB => {
            Err(SetupError::MostMemory { most, memory })
        }
        _ => Ok(most),
    }
}

#[cfg(test)]
mod tests;
