//! The VM grows and shrinks: the machine first and then the guest, or the other
//! way round.

use std::time::Duration;

use protocol::Failure;

use super::Sandbox;
use crate::machine::AdjustError;
use crate::sizing::{Limits, Size, SizingError};

/// How long the guest may take to use memory that it was given.
const PATIENCE: Duration = Duration::from_secs(20);

/// Memory comes and goes by so much, MiB (docs/decisions/0021-memory-by-virtio-mem.md).
const STEP: u64 = 16;

/// Why the VM has not the wanted size.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResizeError {
    #[error(transparent)]
    TooLarge(#[from] SizingError),
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

const VCPUS: &str = "vCPUs";
const MIB: &str = "MiB of memory";

/// The sizes of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// At its start. Memory is never less: there is no device to take it away.
    pub(crate) start: Size,
    /// What the machine was made for.
    pub(crate) most: Size,
}

impl Range {
    /// From `start` as far as the configuration lets a running VM grow.
    pub(crate) fn of(guest: &config::Guest, start: Size) -> Self {
        let vcpus = start.vcpus.saturating_add(guest.hotplug_vcpus);
        let room = u64::from(guest.max_memory_mib).saturating_sub(start.memory_mib);
        let more = u64::from(guest.hotplug_memory_mib).min(room);
        Self {
            start,
            most: Size {
                vcpus: vcpus.min(guest.max_vcpus).max(start.vcpus),
                memory_mib: start.memory_mib.saturating_add(more - more % STEP),
            },
        }
    }

    /// The size that the machine gets for `wanted`.
    fn fit(&self, wanted: Size) -> Result<Size, ResizeError> {
        let more = wanted.memory_mib.saturating_sub(self.start.memory_mib);
        let memory = self
            .start
            .memory_mib
            .saturating_add(more.next_multiple_of(STEP));
        within(
            wanted.vcpus.into(),
            self.most.vcpus.into(),
            VCPUS,
            "guest.hotplug_vcpus",
        )?;
        within(
            memory,
            self.most.memory_mib,
            MIB,
            "guest.hotplug_memory_mib",
        )?;
        Ok(Size {
            vcpus: wanted.vcpus,
            memory_mib: memory,
        })
    }
}

fn within(wanted: u64, max: u64, unit: &'static str, key: &'static str) -> Result<(), ResizeError> {
    if wanted <= max {
        return Ok(());
    }
    Err(ResizeError::NoRoom {
        wanted,
        max,
        unit,
        key,
    })
}

impl Sandbox {
    /// Has the VM at least as large as the pod's `limits` ask for.
    ///
    /// # Errors
    ///
    /// It is as large as before then.
    pub(crate) async fn grow(&self, limits: &Limits) -> Result<(), ResizeError> {
        let mut now = self.size.lock().await;
        let wanted = self.range.fit(Size::of(&self.guest, limits)?)?;
        if wanted.memory_mib > now.memory_mib
            && let Err(error) = self.grow_memory(wanted.memory_mib).await
        {
            self.give_back_memory(now.memory_mib).await;
            return Err(error);
        }
        if wanted.vcpus > now.vcpus
            && let Err(error) = self.grow_vcpus(wanted.vcpus).await
        {
            self.give_back_vcpus(now.vcpus).await;
            self.give_back_memory(now.memory_mib).await;
            return Err(error);
        }
        let size = larger(*now, wanted);
        self.is_now(&mut now, size);
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
        let mut size = *now;
        if wanted.vcpus < now.vcpus && self.give_back_vcpus(wanted.vcpus).await {
            size.vcpus = wanted.vcpus;
        }
        if wanted.memory_mib < now.memory_mib && self.give_back_memory(wanted.memory_mib).await {
            size.memory_mib = wanted.memory_mib;
        }
        self.is_now(&mut now, size);
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
    }
}

fn told(result: Result<(), AdjustError>, what: &str) -> bool {
    if let Err(error) = &result {
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, "{what} from the VM");
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(vcpus: u32, memory_mib: u64) -> Size {
        Size { vcpus, memory_mib }
    }

    fn range() -> Range {
        let guest = config::Guest {
            max_vcpus: 4,
            max_memory_mib: 4096,
            hotplug_vcpus: 8,
            hotplug_memory_mib: 1000,
            ..config::Guest::default()
        };
        Range::of(&guest, size(2, 2100))
    }

    #[test]
    fn a_machine_is_made_for_what_the_configuration_allows() {
        assert_eq!(range().most, size(4, 2100 + 992));
        let none = config::Guest {
            hotplug_vcpus: 0,
            hotplug_memory_mib: 0,
            ..config::Guest::default()
        };
        assert_eq!(Range::of(&none, size(2, 2100)).most, size(2, 2100));
    }

    #[test]
    fn memory_comes_in_steps_and_never_goes_below_the_start() {
        let fit = |memory_mib| range().fit(size(1, memory_mib)).unwrap();
        assert_eq!(fit(2048), size(1, 2100));
        assert_eq!(fit(2101), size(1, 2116));
        assert_eq!(fit(2116), size(1, 2116));
    }

    #[test]
    fn what_the_machine_was_not_made_for_is_refused_with_the_key() {
        let error = range().fit(size(5, 2100)).unwrap_err().to_string();
        assert!(error.contains("5 vCPUs; this VM can have 4"), "{error}");
        assert!(error.ends_with("raise guest.hotplug_vcpus"), "{error}");
        let error = range().fit(size(1, 3093)).unwrap_err().to_string();
        assert!(error.contains("this VM can have 3092"), "{error}");
    }
}
