//! A machine that KVM has everything of, and that does not run yet.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use kvm_bindings::{
    KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES, KVM_MEM_READONLY, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::growth::{self, Growth};
use super::running::{RunError, Running};
use super::setup::Setup;
use crate::boot::{self, BootError, CommandLine, CommandLineError, Cpus};
use crate::cpu::{Mould, Template, Vcpu, VcpuError};
use crate::events::{Events, Token};
use crate::exits::{Counts, Exits};
use crate::memory::layout::Range;
use crate::memory::ram::{self, Growing, RamError};
use crate::over::Over;
use crate::ports::{Console, Lost, Ports};
use crate::virtio::Slot;
use crate::virtio::blk::engine::Engine;
use crate::virtio::mem::BLOCK;
use crate::virtio::slots::{AttachError, Slots, SlotsError};
use crate::virtio::target::Target;

/// A machine that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// KVM refuses.
    #[error("{step}")]
    Kvm {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// Something else was sent in its place.
    #[error("the descriptor of KVM is something else")]
    NotKvm,
    /// A system call of this process's own.
    #[error("{step}")]
    System {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No memory.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// No place for devices.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// A device.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A processor.
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    /// The command line.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// Kernel, initramfs, or what they are told.
    #[error(transparent)]
    Boot(#[from] BootError),
}

/// A machine that does not run yet.
pub struct Built {
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) mould: Mould,
    pub(super) exits: Arc<Exits>,
    pub(super) over: Arc<Over>,
    pub(super) vm: Arc<VmFd>,
    pub(super) memory: GuestMemoryMmap,
    pub(super) growth: Growth,
    pub(super) disks: Engine,
    pub(super) lost: Lost,
    pub(super) events: Events,
}

impl Built {
    /// Builds it. What its devices wait for is waited for with `events`, and
    /// so is its end.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(mut setup: Setup, events: &Events) -> Result<Self, BuildError> {
        let kvm = kvm(setup.kvm)?;
        let vm = kvm.create_vm().map_err(kvm_step("create a machine"))?;
        let vm = Arc::new(vm);
        vm.create_irq_chip()
            .map_err(kvm_step("create interrupt controllers"))?;
        let Memory { ram, memory, late } = Memory::of(setup.memory_mib, setup.most_memory_mib)?;
        let slots = Arc::new(Slots::new()?);
        give_memory(&vm, &ram, &slots)?;

        let cpus = Cpus {
            possible: setup.most_vcpus,
        };
        let mould = mould(&kvm, &memory, cpus)?;
        let vcpus = processors(&vm, &mould, setup.vcpus)?;
        let boot_vcpu = vcpus.first();
        let tsc_khz = boot_vcpu.and_then(Vcpu::tsc_khz);
        let command_line =
            CommandLine::of_machine(setup.vcpus, tsc_khz, late.is_some(), &setup.parameters)?;
        let entry = boot::load(&ram, &mut setup.images, &command_line, cpus)?;
        if let Some(vcpu) = boot_vcpu {
            vcpu.boot_at(entry)?;
        }

        let growth = growth(
            setup.memory_mib,
            setup.most_memory_mib,
            late.is_some(),
            setup.balloon,
        )?;
        if let (Some(late), Some(target)) = (late, &growth.target) {
            let device = growth::device(late, &vm, &memory, target);
            setup.devices.push(Box::new(device));
        }
        for device in setup.devices {
            slots.attach(device, &vm, &memory, events)?;
        }
        let ports = serial_port(&vm, setup.console, memory.clone())?;
        let over = Over::new().map_err(system_step("make the machine's end an event"))?;
        events
            .watch(borrowed(&over), Token::Over)
            .map_err(system_step("wait for the machine's end"))?;
        events
            .watch(&setup.disks, Token::Disks)
            .map_err(system_step("wait for disks"))?;
        Ok(Self {
            vcpus,
            mould,
            exits: Arc::new(Exits {
                ports,
                slots,
                counts: Counts::default(),
            }),
            over: Arc::new(over),
            vm,
            memory,
            growth,
            disks: setup.disks,
            lost: setup.lost,
            events: events.clone(),
        })
    }

    /// Gives it all that it needs to run; it is paused yet.
    ///
    /// # Errors
    /// When its processors cannot get threads.
    pub fn run(self) -> Result<Running, RunError> {
        Running::start(self)
    }
}

/// Guest memory.
struct Memory {
    /// At the start.
    ram: GuestMemoryMmap,
    /// And what can come.
    memory: GuestMemoryMmap,
    /// The latter, if any can.
    late: Option<Range>,
}

impl Memory {
    /// `mib` MiB at the start, and `most` at most.
    fn of(mib: u64, most: u64) -> Result<Self, BuildError> {
        if most == mib {
            let ram = ram::allocate(mib)?;
            return Ok(Self {
                memory: ram.clone(),
                ram,
                late: None,
            });
        }
        let late = ((most - mib) << 20).next_multiple_of(BLOCK);
        let Growing { ram, all, late } = ram::allocate_growing(mib, late)?;
        Ok(Self {
            ram,
            memory: all,
            late: Some(late),
        })
    }
}

fn growth(
    least: u64,
    most: u64,
    can_grow: bool,
    balloon: Arc<Target>,
) -> Result<Growth, BuildError> {
    let target = can_grow.then(Target::new).transpose();
    Ok(Growth {
        least,
        most,
        balloon,
        target: target.map_err(system_step("make an event of the memory that is wanted"))?,
    })
}

#[allow(unsafe_code)] // The type takes a descriptor by its number.
fn kvm(fd: OwnedFd) -> Result<Kvm, BuildError> {
    // SAFETY: it is open, and given away. On anything but KVM its requests
    // fail; the first one shows.
    let kvm = unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) };
    match u32::try_from(kvm.get_api_version()) {
        // The only one that there will be (Documentation/virt/kvm/api.rst, 4.1).
        Ok(KVM_API_VERSION) => Ok(kvm),
        _ => Err(BuildError::NotKvm),
    }
}

fn mould(kvm: &Kvm, memory: &GuestMemoryMmap, cpus: Cpus) -> Result<Mould, BuildError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(kvm_step("ask for the processor's features"))?;
    Ok(Mould {
        template: Template::new(&supported, cpus.possible),
        memory: memory.clone(),
        most: cpus.possible,
    })
}

fn processors(vm: &VmFd, mould: &Mould, count: u8) -> Result<Vec<Vcpu>, BuildError> {
    let made = (0..count).map(|id| Vcpu::new(vm, id, &mould.template, &mould.memory));
    Ok(made.collect::<Result<_, _>>()?)
}

fn serial_port(vm: &VmFd, console: Console, memory: GuestMemoryMmap) -> Result<Ports, BuildError> {
    let interrupt = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
        .map_err(system_step("make an event of the serial port's interrupt"))?;
    vm.register_irqfd(&interrupt, Ports::SERIAL_LINE)
        .map_err(kvm_step("connect the serial port's interrupt"))?;
    Ok(Ports::new(console, interrupt, memory))
}

/// RAM in slots from 0 on, then the device registers, which the guest can only
/// read.
fn give_memory(vm: &VmFd, memory: &GuestMemoryMmap, slots: &Slots) -> Result<(), BuildError> {
    let mut regions: Vec<_> = memory
        .iter()
        .map(|region| kvm_userspace_memory_region {
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            ..kvm_userspace_memory_region::default()
        })
        .collect();
    let registers = Slot::all().next().map_or(0, Slot::address);
    regions.push(kvm_userspace_memory_region {
        flags: KVM_MEM_READONLY,
        guest_phys_addr: registers,
        memory_size: Slot::TOTAL,
        userspace_addr: slots.windows().host_address(),
        ..kvm_userspace_memory_region::default()
    });
    for (slot, region) in (0_u32..).zip(regions) {
        set_region(vm, kvm_userspace_memory_region { slot, ..region })
            .map_err(kvm_step("give the guest its memory"))?;
    }
    Ok(())
}

#[allow(unsafe_code)] // KVM is given memory by its address.
pub(super) fn set_region(
    vm: &VmFd,
    region: kvm_userspace_memory_region,
) -> Result<(), kvm_ioctls::Error> {
    // SAFETY: the region lies in a mapping of guest memory or of the device
    // registers, which are accessed as memory that others change. Processors
    // are what reaches it, and each holds the memory's mapping; the registers'
    // is held by their slots, which the exits of every processor's thread hold.
    unsafe { vm.set_user_memory_region(region) }
}

#[allow(unsafe_code)] // The type lends its descriptor by number only.
fn borrowed(over: &Over) -> BorrowedFd<'_> {
    // SAFETY: `over` keeps it open for the borrow's life.
    unsafe { BorrowedFd::borrow_raw(over.as_raw_fd()) }
}

fn kvm_step(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> BuildError {
    move |source| BuildError::Kvm { step, source }
}

fn system_step(step: &'static str) -> impl FnOnce(io::Error) -> BuildError {
    move |source| BuildError::System { step, source }
}
