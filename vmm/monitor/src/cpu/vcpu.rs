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
        let fd = vm
            .create_vcpu(id.into())
            .map_err(VcpuError::step("create"))?;
        let cpuid = template.of_processor(id).map_err(VcpuError::List)?;
        fd.set_cpuid2(&cpuid)
            .map_err(VcpuError::step("set the features of"))?;
        registers::set_msrs(&fd)?;
        Ok(Self {
            fd,
            id,
            _memory: memory.clone(),
        })
    }

    /// Makes it the one that starts the kernel, at `entry`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn boot_at(&self, entry: u64) -> Result<(), VcpuError> {
        registers::set_boot(&self.fd, entry)
    }

    /// Makes it known to the others, as one that comes to a machine that runs.
    /// KVM looks an interrupt's receiver up in a map that it drew before this
    /// processor was there, and draws anew when the state of a local APIC is
    /// set. Without this, the kernel's start-up message is lost.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn join(&self) -> Result<(), VcpuError> {
        let state = self
            .fd
            .get_lapic()
            .map_err(VcpuError::step("read the local APIC of"))?;
        self.fd
            .set_lapic(&state)
            .map_err(VcpuError::step("set the local APIC of"))
    }

    /// Rate of its time stamp counter, kHz, if KVM knows.
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u32> {
        self.fd.get_tsc_khz().ok().filter(|khz| *khz > 0)
    }
}
