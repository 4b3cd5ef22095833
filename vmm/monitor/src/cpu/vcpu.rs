//! A processor before it runs.

use kvm_ioctls::{VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;

use super::cpuid::Template;
use super::registers;

/// A processor that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// KVM refuses.
    #[error("{step} a processor")]
    Kvm {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// Too long a list for KVM.
    #[error("list the features of a processor: {0:?}")]
    List(vmm_sys_util::fam::Error),
}

impl VcpuError {
    pub(super) fn step(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| Self::Kvm { step, source }
    }
}

/// A processor that KVM has made, and that has not been told yet what it can do.
/// KVM makes none of that number again.
pub(super) struct Blank {
    fd: VcpuFd,
    pub(super) id: u8,
    memory: GuestMemoryMmap,
}

/// A processor that is still blank.
pub(super) struct Unprepared {
    /// As it was; it can be tried again.
    pub(super) blank: Blank,
    /// Why.
    pub(super) why: VcpuError,
}

impl Blank {
    /// Has KVM make processor `id` of the machine.
    ///
    /// # Errors
    /// When KVM refuses.
    pub(super) fn new(vm: &VmFd, id: u8, memory: &GuestMemoryMmap) -> Result<Self, VcpuError> {
        let fd = vm
            .create_vcpu(id.into())
            .map_err(VcpuError::step("create"))?;
        let memory = memory.clone();
        Ok(Self { fd, id, memory })
    }

    /// Tells it what it can do. It waits for the kernel to start it.
    ///
    /// # Errors
    /// See [`VcpuError`].
    pub(super) fn prepare(self, template: &Template) -> Result<Vcpu, Unprepared> {
        match self.tell(template) {
            Ok(()) => Ok(self.done()),
            Err(why) => Err(Unprepared { blank: self, why }),
        }
    }

    /// The same with one that comes to a machine that runs.
    ///
    /// # Errors
    /// See [`VcpuError`].
    pub(super) fn prepare_late(self, template: &Template) -> Result<Vcpu, Unprepared> {
        match self.tell(template).and_then(|()| self.join()) {
            Ok(()) => Ok(self.done()),
            Err(why) => Err(Unprepared { blank: self, why }),
        }
    }

    fn tell(&self, template: &Template) -> Result<(), VcpuError> {
        let cpuid = template.of_processor(self.id).map_err(VcpuError::List)?;
        self.fd
            .set_cpuid2(&cpuid)
            .map_err(VcpuError::step("set the features of"))?;
        registers::set_msrs(&self.fd)
    }

    /// Makes it known to the others. KVM looks an interrupt's receiver up in a map
    /// that it drew before this processor was there, and draws anew when the state
    /// of a local APIC is set. Without this, the kernel's start-up message is lost.
    fn join(&self) -> Result<(), VcpuError> {
        let state = self
            .fd
            .get_lapic()
            .map_err(VcpuError::step("read the local APIC of"))?;
        self.fd
            .set_lapic(&state)
            .map_err(VcpuError::step("set the local APIC of"))
    }

    fn done(self) -> Vcpu {
        Vcpu {
            fd: self.fd,
            id: self.id,
            _memory: self.memory,
        }
    }
}

/// A processor that does not run yet.
pub struct Vcpu {
    pub(super) fd: VcpuFd,
    pub(super) id: u8,
    /// The guest's memory stays mapped for as long as a processor can reach it.
    pub(super) _memory: GuestMemoryMmap,
}

impl Vcpu {
    /// Processor `id` of the machine. It waits for the kernel to start it.
    ///
    /// # Errors
    /// See [`VcpuError`].
    pub fn new(
        vm: &VmFd,
        id: u8,
        template: &Template,
        memory: &GuestMemoryMmap,
    ) -> Result<Self, VcpuError> {
        let blank = Blank::new(vm, id, memory)?;
        blank.prepare(template).map_err(|failed| failed.why)
    }

    /// Makes it the one that starts the kernel, at `entry`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn boot_at(&self, entry: u64) -> Result<(), VcpuError> {
        registers::set_boot(&self.fd, entry)
    }

    /// Rate of its time stamp counter, kHz, if KVM knows.
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u32> {
        self.fd.get_tsc_khz().ok().filter(|khz| *khz > 0)
    }
}
