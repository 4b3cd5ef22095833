//! Memory that a machine can get while it runs
//! (docs/decisions/0021-memory-by-virtio-mem.md).
//!
//! All of it is in the memory file and mapped from the start, which costs
//! nothing; the guest reaches a block of it only while KVM has a slot for it.

use std::io;
use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::built::set_region;
use crate::memory::layout::Range;
use crate::memory::release::{ReleaseError, release};
use crate::virtio::mem::{BLOCK, Host, HostError, Mem};
use crate::virtio::target::Target;

/// KVM's slots before it are those of RAM and of the device registers.
const FIRST_SLOT: usize = 16;

/// The amount stays.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} MiB of memory: this machine can have {least} to {most}")]
pub struct AmountError {
    wanted: u64,
    least: u64,
    most: u64,
}

/// Least that a guest keeps of its first memory, MiB: what a kernel comes up in.
const LEAST_KEPT: u64 = 64;

/// The balloon stays.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} MiB in the balloon: this machine's can have up to {most}")]
pub struct BalloonError {
    wanted: u64,
    most: u64,
}

/// How much memory a machine has and can have.
pub(super) struct Growth {
    /// MiB at its start.
    pub(super) least: u64,
    /// MiB at most.
    pub(super) most: u64,
    /// What is told to the device, if there can be more than at the start.
    pub(super) target: Option<Arc<Target>>,
    /// What the balloon is told.
    pub(super) balloon: Arc<Target>,
}

impl Growth {
    /// Has the guest be told that it is to have `wanted` MiB.
    pub(super) fn want(&self, wanted: u64) -> Result<(), AmountError> {
        let Self { least, most, .. } = *self;
        if !(least..=most).contains(&wanted) {
            return Err(AmountError {
                wanted,
                least,
                most,
            });
        }
        if let Some(target) = &self.target {
            target.want(((wanted - least) << 20).next_multiple_of(BLOCK));
        }
        Ok(())
    }

    /// Has the guest be told that it is to give `wanted` MiB.
    pub(super) fn want_back(&self, wanted: u64) -> Result<(), BalloonError> {
        let most = self.least.saturating_sub(LEAST_KEPT);
        if wanted > most {
            return Err(BalloonError { wanted, most });
        }
        self.balloon.want(wanted << 20);
        Ok(())
    }

    /// MiB that it says that it has given.
    pub(super) fn balloon_mib(&self) -> u64 {
        self.balloon.there() >> 20
    }

    /// MiB that the guest has.
    pub(super) fn memory_mib(&self) -> u64 {
        let plugged = self.target.as_ref().map_or(0, |target| target.there());
        self.least + (plugged >> 20)
    }
}

/// The device for `range` of `memory`, which KVM has no slot for yet.
pub(super) fn device(
    range: Range,
    vm: &Arc<VmFd>,
    memory: &GuestMemoryMmap,
    target: &Arc<Target>,
) -> Mem {
    let host = Blocks {
        start: range.start,
        vm: Arc::clone(vm),
        memory: memory.clone(),
    };
    Mem::new(
        range.start,
        range.length,
        Arc::clone(target),
        Box::new(host),
    )
}

/// Each block is a slot of KVM's. One for several would have to be taken away
/// to be made smaller, and what is in it too, while processors use it.
struct Blocks {
    start: u64,
    vm: Arc<VmFd>,
    memory: GuestMemoryMmap,
}

impl Blocks {
    /// A `length` of 0 takes the slot away.
    fn set(&self, block: usize, length: u64) -> io::Result<()> {
        let address = self.address(block);
        let host = self
            .memory
            .get_host_address(GuestAddress(address))
            .map_err(io::Error::other)?;
        let slot = u32::try_from(FIRST_SLOT + block).map_err(io::Error::other)?;
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: address,
            memory_size: length,
            userspace_addr: host as u64,
            ..kvm_userspace_memory_region::default()
        };
        set_region(&self.vm, region).map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }

    fn address(&self, block: usize) -> u64 {
        self.start + block as u64 * BLOCK
    }
}

impl Host for Blocks {
    fn plug(&mut self, block: usize) -> Result<(), HostError> {
        let failed = |source| HostError {
            step: "plug",
            block,
            source,
        };
        self.set(block, BLOCK).map_err(failed)
    }

    fn unplug(&mut self, block: usize) -> Result<(), HostError> {
        let failed = |step| {
            move |source| HostError {
                step,
                block,
                source,
            }
        };
        self.set(block, 0).map_err(failed("unplug"))?;
        let released = release(&self.memory, GuestAddress(self.address(block)), BLOCK);
        released.map_err(|error| failed("release")(cause(error)))
    }
}

fn cause(error: ReleaseError) -> io::Error {
    match error {
        ReleaseError::Refused { source, .. } => source,
        other @ ReleaseError::NotMemory { .. } => io::Error::other(other),
    }
}
