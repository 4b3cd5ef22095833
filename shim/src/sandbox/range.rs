//! How large a machine begins, and how large it can become.

use super::resize::{MIB, ResizeError, VCPUS};
use crate::sizing::Size;

/// Memory comes and goes by so much, MiB (docs/decisions/0021-memory-by-virtio-mem.md).
const STEP: u64 = 16;

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
                huge_pages: start.huge_pages,
            },
        }
    }

    /// The size that the machine gets for `wanted`.
    pub(super) fn fit(&self, wanted: Size) -> Result<Size, ResizeError> {
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
            memory_mib: memory,
            ..wanted
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huge_pages::HugePages;

    fn size(vcpus: u32, memory_mib: u64) -> Size {
        Size {
            vcpus,
            memory_mib,
            huge_pages: HugePages::default(),
        }
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
