//! What can be changed of a machine that runs.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use vmm_api::DiskConfig;

use super::built_in::RequestError;
use super::qemu::QmpError;

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdjustError {
    #[error("change the machine")]
    BuiltIn(#[from] RequestError),
    #[error("change the machine")]
    Qemu(#[from] QmpError),
    #[error("all {ports} places for disks that come to a running VM are taken: raise {key}")]
    Full { ports: usize, key: &'static str },
    #[error("the disk {serial} is still in the VM")]
    Stays { serial: String },
    #[error("this machine cannot be changed")]
    #[cfg(test)]
    Fixed,
}

/// The machine's side of a change; the guest's is the agent's. One
/// implementation per virtual machine monitor.
#[async_trait]
pub(crate) trait Adjust: Send + Sync {
    /// Has so many processors be there, the first ones: before the guest brings
    /// them online, or after it has taken the others offline.
    async fn set_vcpus(&self, vcpus: u32) -> Result<(), AdjustError>;

    /// Has the guest be told that it is to have so much memory, MiB. It takes
    /// it and gives it back at its own pace.
    async fn set_memory(&self, memory_mib: u64) -> Result<(), AdjustError>;

    /// Puts a disk into the machine. The slot that the guest has to be told of;
    /// empty if it notices by itself.
    async fn attach_disk(&self, disk: &DiskConfig, fd: OwnedFd) -> Result<String, AdjustError>;

    /// Takes a disk out, which the guest has let go of.
    async fn detach_disk(&self, serial: &str, slot: &str) -> Result<(), AdjustError>;
}

/// A machine that stays as it is.
#[cfg(test)]
pub(crate) struct Fixed;

#[cfg(test)]
#[async_trait]
impl Adjust for Fixed {
    async fn set_vcpus(&self, _: u32) -> Result<(), AdjustError> {
        Err(AdjustError::Fixed)
    }
    async fn set_memory(&self, _: u64) -> Result<(), AdjustError> {
        Err(AdjustError::Fixed)
    }
    async fn attach_disk(&self, _: &DiskConfig, _: OwnedFd) -> Result<String, AdjustError> {
        Err(AdjustError::Fixed)
    }
    async fn detach_disk(&self, _: &str, _: &str) -> Result<(), AdjustError> {
        Err(AdjustError::Fixed)
    }
}
