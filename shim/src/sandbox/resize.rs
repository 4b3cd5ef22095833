//! The VM grows and shrinks: the machine first and then the guest, or the other
//! way round.

use std::time::Duration;

use protocol::Failure;

use super::Sandbox;
use crate::host_cgroup::CgroupError;
use crate::machine::AdjustError;
use crate::sizing::{Limits, Size, SizingError};

/// How long the guest may take to use memory that it was given.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the VM has not the wanted size.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResizeError {
    #[error(transparent)]
    TooLarge(#[from] SizingError),
    #[error(transparent)]
    Bound(#[from] CgroupError),
    #[error(
        "the pod's limits ask for {wanted} {unit}; this VM can have {max}: start the pod anew, or raise {key}"
    )]
    NoRoom {
        wanted: u64,
        max: u64,
        unit: &'static str,
        key: &'static str,
    },
    #[error("give the VM {wanted} {unit}")]
    Machine {
        wanted: u64,
        unit: &'static str,
        #[source]
        source: AdjustError,
    },
    #[error("have the guest use {wanted} {unit}")]
    Guest {
        wanted: u64,
        unit: &'static str,
        #[source]
        source: Failure,
    },
}

pub(super) const VCPUS: &str = "vCPUs";
pub(super) const MIB: &str = "MiB of memory";

impl Sandbox {
    /// Has the VM at least as large as the pod's `limits` ask for.
    ///
    /// # Errors
    ///
    /// It is as large as before then.
    pub(crate) async fn grow(&self, limits: &Limits) -> Result<(), ResizeError> {
        let mut now = self.size.lock().await;
        let wanted = self.range.fit(Size::of(&self.guest, limits)?)?;
        let wanted = larger(*now, wanted);
        if let Err(error) = self.grow_to(*now, wanted).await {
            self.shrink_to(wanted, *now).await;
            return Err(error);
        }
        self.is_now(&mut now, wanted);
        Ok(())
    }

    /// Takes from the VM what the pod's `limits` do not ask for any more, as far
    /// as the guest gives it.
    pub(crate) async fn shrink(&self, limits: &Limits) {
        let mut now = self.size.lock().await;
        let wanted = Size::of(&self.guest, limits).map_err(ResizeError::from);
        let Ok(wanted) = wanted.and_then(|wanted| self.range.fit(wanted)) else {
            return;
        };
        let size = self.shrink_to(*now, wanted).await;
        self.is_now(&mut now, size);
    }

    async fn grow_to(&self, now: Size, wanted: Size) -> Result<(), ResizeError> {
        if wanted.memory_mib > now.memory_mib {
            self.grow_memory(wanted.memory_mib).await?;
        }
        if wanted.vcpus > now.vcpus {
            self.grow_vcpus(wanted.vcpus).await?;
        }
        if wanted.huge_pages != now.huge_pages {
            self.keep_huge_pages(&wanted).await?;
        }
        Ok(())
    }

    /// In the other order: huge pages are made of memory. The size that it has
    /// then.
    async fn shrink_to(&self, now: Size, wanted: Size) -> Size {
        let mut size = now;
        let huge_pages = wanted.huge_pages.min(now.huge_pages);
        if huge_pages != now.huge_pages {
            let less = Size { huge_pages, ..now };
            if told(self.keep_huge_pages(&less).await, "take huge pages") {
                size = less;
            }
        }
        if wanted.vcpus < now.vcpus && self.give_back_vcpus(wanted.vcpus).await {
            size.vcpus = wanted.vcpus;
        }
        if wanted.memory_mib < now.memory_mib && self.give_back_memory(wanted.memory_mib).await {
            size.memory_mib = wanted.memory_mib;
        }
        size
    }

    async fn grow_memory(&self, wanted: u64) -> Result<(), ResizeError> {
        let machine = &self.processes.machine.adjust;
        let told = machine.set_memory(wanted).await;
        told.map_err(|source| ResizeError::Machine {
            wanted,
            unit: MIB,
            source,
        })?;
        let added = wanted.saturating_sub(self.range.start.memory_mib);
        let come = self.agent.await_memory(added, PATIENCE).await;
        come.map_err(|source| ResizeError::Guest {
            wanted,
            unit: MIB,
            source,
        })
    }

    async fn grow_vcpus(&self, vcpus: u32) -> Result<(), ResizeError> {
        let (wanted, unit) = (vcpus.into(), VCPUS);
        let machine = &self.processes.machine.adjust;
        let made = machine.set_vcpus(vcpus).await;
        made.map_err(|source| ResizeError::Machine {
            wanted,
            unit,
            source,
        })?;
        let online = self.agent.set_processors(vcpus).await;
        online.map_err(|source| ResizeError::Guest {
            wanted,
            unit,
            source,
        })
    }

    /// Whether they were taken.
    async fn give_back_vcpus(&self, vcpus: u32) -> bool {
        if let Err(error) = self.agent.set_processors(vcpus).await {
            tracing::warn!(%error, vcpus, "the guest keeps processors");
            return false;
        }
        let taken = self.processes.machine.adjust.set_vcpus(vcpus).await;
        told(taken, "take processors")
    }

    /// Whether the guest was told.
    async fn give_back_memory(&self, memory_mib: u64) -> bool {
        let taken = self.processes.machine.adjust.set_memory(memory_mib).await;
        told(taken, "take memory")
    }

    fn is_now(&self, now: &mut Size, size: Size) {
        if *now == size {
            return;
        }
        tracing::info!(
            vcpus = size.vcpus,
            memory_mib = size.memory_mib,
            "the VM has another size"
        );
        *now = size;
        self.journal.resized(size, &self.run_dir);
    }
}

fn larger(one: Size, other: Size) -> Size {
    Size {
        vcpus: one.vcpus.max(other.vcpus),
        memory_mib: one.memory_mib.max(other.memory_mib),
        huge_pages: one.huge_pages.max(other.huge_pages),
    }
}

fn told<E: std::error::Error + 'static>(result: Result<(), E>, what: &str) -> bool {
    if let Err(error) = &result {
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, "{what} from the VM");
    }
    result.is_ok()
}
