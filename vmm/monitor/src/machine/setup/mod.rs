//! A machine's configuration, checked, with its files open.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use vmm_api::{Descriptor, MachineConfig};

use crate::boot::{Images, MOST_CPUS};
use crate::virtio::balloon::Balloon;
use crate::virtio::blk::engine::{Engine, EngineError};
use crate::virtio::blk::{Disk, DiskError};
use crate::virtio::console::Console;
use crate::virtio::device::Device;
use crate::virtio::net::{Net, NetError};
use crate::virtio::rng::Rng;
use crate::virtio::vhost_user::{self, TagError, VhostUser, VhostUserError};

/// Most memory that can come later, MiB: KVM has 32764 slots on x86, and each
/// block takes one.
const MOST_LATE_MIB: u64 = 256 << 10;

/// A configuration that no machine can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Too few or too many.
    #[error("{vcpus} processors: a machine has 1 to {MOST_CPUS}")]
    Vcpus {
        /// As asked for.
        vcpus: u32,
    },
    /// Fewer than at its start, or too many.
    #[error(
        "{most} processors at most: a machine that starts with {vcpus} has {vcpus} to {MOST_CPUS}"
    )]
    MostVcpus {
        /// As asked for.
        most: u32,
        /// At its start.
        vcpus: u8,
    },
    /// Less than at its start, or too much.
    #[error(
        "{most} MiB of memory at most: a machine that starts with {memory} has up to {MOST_LATE_MIB} more"
    )]
    MostMemory {
        /// As asked for.
        most: u64,
        /// At its start.
        memory: u64,
    },
    /// The message and its descriptors do not belong together.
    #[error("{named} descriptors are named and {sent} were sent")]
    Count {
        /// In the message.
        named: usize,
        /// Beside it.
        sent: usize,
    },
    /// One that has to be there is not.
    #[error("the descriptor of the {what:?} is missing")]
    Missing {
        /// Which.
        what: Descriptor,
    },
    /// One that can be there once is there twice.
    #[error("there are two descriptors of the {what:?}")]
    Twice {
        /// Which.
        what: Descriptor,
    },
    /// Interfaces and taps do not belong together.
    #[error("{nets} network interfaces on {taps} taps: each has one")]
    Taps {
        /// Interfaces in the message.
        nets: usize,
        /// Taps beside it.
        taps: usize,
    },
    /// An interface that cannot be made.
    #[error("make network interface {index}")]
    Net {
        /// Which, from 0 on.
        index: usize,
        /// Why.
        #[source]
        source: NetError,
    },
    /// Disks and what they are made of do not belong together.
    #[error("{disks} disks on {backings} files or block devices: each has one")]
    Disks {
        /// Disks in the message.
        disks: usize,
        /// Files and block devices beside it.
        backings: usize,
    },
    /// A disk that cannot be made.
    #[error("make disk {index}")]
    Disk {
        /// Which, from 0 on.
        index: usize,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// Nobody does the work of disks.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The share has no name for the guest.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The console device cannot write to its descriptor.
    #[error("use the descriptor of the console device")]
    Console(#[source] io::Error),
    /// A device process cannot be reached.
    #[error(transparent)]
    VhostUser(#[from] VhostUserError),
}

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
    pub console: Option<OwnedFd>,
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
            console: given.take(Descriptor::Console)?,
            devices: devices(config, &mut given, &disks)?,
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

/// vsock first: it is what the agent waits for.
fn devices(
    config: &MachineConfig,
    given: &mut Given,
    engine: &Engine,
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
    devices.push(Box::new(Balloon::default()));
    if let Some(output) = given.take(Descriptor::VirtioConsole)? {
        let console = Console::new(output).map_err(SetupError::Console)?;
        devices.push(Box::new(console));
    }
    Ok(devices)
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

/// Descriptors that nobody has taken yet.
struct Given(Vec<(Descriptor, OwnedFd)>);

impl Given {
    fn new(descriptors: &[Descriptor], fds: Vec<OwnedFd>) -> Result<Self, SetupError> {
        if descriptors.len() != fds.len() {
            return Err(SetupError::Count {
                named: descriptors.len(),
                sent: fds.len(),
            });
        }
        Ok(Self(descriptors.iter().copied().zip(fds).collect()))
    }

    /// The only one of its kind, if it is there.
    fn take(&mut self, what: Descriptor) -> Result<Option<OwnedFd>, SetupError> {
        let mut these = self.take_all(what);
        match these.len() {
            0 | 1 => Ok(these.pop()),
            _ => Err(SetupError::Twice { what }),
        }
    }

    /// All of that kind, in their order.
    fn take_all(&mut self, what: Descriptor) -> Vec<OwnedFd> {
        let (these, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition::<Vec<_>, _>(|(kind, _)| *kind == what);
        self.0 = others;
        these.into_iter().map(|(_, fd)| fd).collect()
    }

    fn need(&mut self, what: Descriptor) -> Result<OwnedFd, SetupError> {
        self.take(what)?.ok_or(SetupError::Missing { what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Descriptor::{Console, Initramfs, Kernel, Kvm, Tap, VirtioConsole, Vsock};

    fn config() -> MachineConfig {
        MachineConfig {
            vcpus: 1,
            max_vcpus: 0,
            memory_mib: 128,
            max_memory_mib: 0,
            kernel: "/k".into(),
            initramfs: "/i".into(),
            kernel_parameters: String::new(),
            guest_cid: 3,
            share_tag: "share".into(),
            nets: Vec::new(),
            disks: Vec::new(),
        }
    }

    fn some_fd() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    fn check(config: &MachineConfig, descriptors: &[Descriptor]) -> Result<Setup, SetupError> {
        let fds = descriptors.iter().map(|_| some_fd()).collect();
        Setup::check(config, descriptors, fds)
    }

    fn names(setup: &Setup) -> Vec<&'static str> {
        setup.devices.iter().map(|device| device.name()).collect()
    }

    #[test]
    fn a_device_is_there_if_its_descriptor_is() {
        let setup = check(&config(), &[Initramfs, Vsock, Kernel, Kvm]).unwrap();
        assert_eq!(names(&setup), ["vsock", "rng", "balloon"]);
        assert!(setup.console.is_none());
        let setup = check(&config(), &[Kvm, Kernel, Initramfs, VirtioConsole]).unwrap();
        assert_eq!(names(&setup), ["rng", "balloon", "console"]);
        assert!(setup.console.is_none());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |descriptors: &[Descriptor]| check(&config(), descriptors).err().unwrap();
        assert!(matches!(
            refused(&[Initramfs]),
            SetupError::Missing { what: Kernel }
        ));
        assert!(matches!(
            refused(&[Initramfs, Kernel]),
            SetupError::Missing { what: Kvm }
        ));
        assert!(matches!(
            refused(&[Kernel, Initramfs, Console, Console]),
            SetupError::Twice { what: Console }
        ));
        let counted = Setup::check(&config(), &[Kernel], Vec::new());
        assert!(matches!(
            counted,
            Err(SetupError::Count { named: 1, sent: 0 })
        ));
    }

    #[test]
    fn an_interface_needs_a_tap_and_a_tap_an_interface() {
        let net = vmm_api::NetConfig {
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
        };
        let nets = |count| MachineConfig {
            nets: vec![net.clone(); count],
            ..config()
        };
        for (count, descriptors) in [
            (0, &[Kernel, Initramfs, Tap][..]),
            (1, &[Kernel, Initramfs]),
        ] {
            let refused = check(&nets(count), descriptors);
            assert!(matches!(refused, Err(SetupError::Taps { .. })));
        }
        let no_tap = check(&nets(1), &[Kernel, Initramfs, Tap]);
        assert!(matches!(no_tap, Err(SetupError::Net { index: 0, .. })));
    }

    #[test]
    fn a_disk_needs_a_backing_and_a_backing_a_disk() {
        let disk = vmm_api::DiskConfig {
            serial: "data".into(),
            read_only: false,
            queues: 1,
        };
        let disks = |count| MachineConfig {
            disks: vec![disk.clone(); count],
            ..config()
        };
        for (count, descriptors) in [
            (0, &[Kernel, Initramfs, Descriptor::Disk][..]),
            (1, &[Kernel, Initramfs]),
        ] {
            let refused = check(&disks(count), descriptors);
            assert!(matches!(refused, Err(SetupError::Disks { .. })));
        }
        let no_disk = check(&disks(1), &[Kernel, Initramfs, Descriptor::Disk]);
        assert!(matches!(no_disk, Err(SetupError::Disk { index: 0, .. })));
    }

    #[test]
    fn the_number_of_processors_is_checked() {
        for vcpus in [0, 255, 256, u32::MAX] {
            let config = MachineConfig { vcpus, ..config() };
            let checked = check(&config, &[Kernel, Initramfs]);
            assert!(matches!(checked, Err(SetupError::Vcpus { .. })), "{vcpus}");
        }
        let at_most = |max_vcpus| {
            let config = MachineConfig {
                vcpus: 2,
                max_vcpus,
                ..config()
            };
            check(&config, &[Kvm, Kernel, Initramfs]).map(|setup| setup.most_vcpus)
        };
        for (most, taken) in [(0, 2), (2, 2), (254, 254)] {
            assert_eq!(at_most(most).unwrap(), taken);
        }
        for most in [1, 255, 256, u32::MAX] {
            let refused = at_most(most);
            assert!(
                matches!(refused, Err(SetupError::MostVcpus { .. })),
                "{most}"
            );
        }
    }

    #[test]
    fn the_most_memory_is_checked() {
        let at_most = |max_memory_mib| {
            let config = MachineConfig {
                max_memory_mib,
                ..config()
            };
            check(&config, &[Kvm, Kernel, Initramfs]).map(|setup| setup.most_memory_mib)
        };
        for (most, taken) in [(0, 128), (128, 128), (4096, 4096)] {
            assert_eq!(at_most(most).unwrap(), taken);
        }
        for most in [1, 127, 129 + MOST_LATE_MIB, u64::MAX] {
            let refused = at_most(most);
            assert!(
                matches!(refused, Err(SetupError::MostMemory { .. })),
                "{most}"
            );
        }
    }
}
