//! Changes of a machine by requests to its VMM.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use vmm_api::{DiskConfig, Pluggable};

use super::requests::Requests;
use crate::machine::{Adjust, AdjustError};

#[async_trait]
impl Adjust for Requests {
    async fn set_vcpus(&self, vcpus: u32) -> Result<(), AdjustError> {
        Ok(self.resize_vcpus(vcpus).await?)
    }

    async fn set_memory(&self, memory_mib: u64) -> Result<(), AdjustError> {
        Ok(self.resize_memory(memory_mib).await?)
    }

    async fn attach_disk(&self, disk: &DiskConfig, fd: OwnedFd) -> Result<String, AdjustError> {
        Ok(self.attach(Pluggable::Disk(disk.clone()), fd).await?)
    }

    async fn detach_disk(&self, _serial: &str, slot: &str) -> Result<(), AdjustError> {
        Ok(self.detach(slot.to_owned()).await?)
    }
}
