//! How large a pod's VM is: the configured base, and the containers' limits
//! on top. Requests (`cpu.shares`) do not count.

use oci_spec::runtime::{LinuxResources, Spec};

use crate::huge_pages::HugePages;

const MIB: u64 = 1 << 20;

/// vCPUs and memory of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) vcpus: u32,
    pub(crate) memory_mib: u64,
    /// What of the memory is in huge pages.
    pub(crate) huge_pages: HugePages,
}

/// Limits of a container, or of several. Zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// CPU time, in thousand-millionths of a CPU.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// On top of `memory`, as Kubernetes counts it.
    pub(crate) huge_pages: HugePages,
}

/// In the units of [`Limits::cpu`].
const WHOLE_CPU: u64 = 1_000_000_000;

/// Linux's own, where a quota comes without one (sched-bwc.rst), microseconds.
const PERIOD: u64 = 100_000;

/// Why there is no VM of the wanted size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SizingError {
    #[error("pod annotation {name} must be a whole number, not {value:?}")]
    Annotation { name: &'static str, value: String },
    #[error(
        "the pod's limits ask for a VM of {wanted} {unit}, the largest allowed is {max}: lower the containers' limits or raise {key}"
    )]
    TooLarge {
        wanted: u64,
        max: u64,
        unit: &'static str,
        key: &'static str,
    },
}

const CPU_QUOTA: &str = "io.kubernetes.cri.sandbox-cpu-quota";
const CPU_PERIOD: &str = "io.kubernetes.cri.sandbox-cpu-period";
const MEMORY: &str = "io.kubernetes.cri.sandbox-memory";

impl Limits {
    /// The sums that containerd's CRI plugin writes on a sandbox.
    pub(crate) fn of_sandbox<'a>(
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self, SizingError> {
        let number = |name: &'static str| {
            let value = annotation(name).unwrap_or("0");
            // -1 is how the kernel writes 'no limit'.
            let parsed = value.parse::<i64>().map_err(|_| SizingError::Annotation {
                name,
                value: value.chars().take(64).collect(),
            })?;
            Ok(u64::try_from(parsed).unwrap_or(0))
        };
        let cpu = cpus(number(CPU_QUOTA)?, number(CPU_PERIOD)?);
        let memory = number(MEMORY)?;
        Ok(Self {
            cpu,
            memory,
            huge_pages: HugePages::default(),
        })
    }

    /// The limits of a container.
    pub(crate) fn of_container(spec: &Spec) -> Self {
        let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref());
        resources.map_or(Self::default(), |resources| Self::default().with(resources))
    }

    /// After an update by `resources`: what they do not name stays.
    pub(crate) fn with(self, resources: &LinuxResources) -> Self {
        let positive = |n: i64| u64::try_from(n).unwrap_or(0);
        let cpu = resources.cpu().as_ref();
        let quota = cpu.and_then(|cpu| cpu.quota()).map(positive);
        let period = cpu.and_then(|cpu| cpu.period()).unwrap_or(PERIOD);
        let memory = resources.memory().as_ref();
        let memory = memory.and_then(|memory| memory.limit()).map(positive);
        Self {
            cpu: quota.map_or(self.cpu, |quota| cpus(quota, period)),
            memory: memory.unwrap_or(self.memory),
            huge_pages: self
                .huge_pages
                .with(resources.hugepage_limits().as_deref().unwrap_or_default()),
        }
    }

    /// Without what is in huge pages.
    pub(crate) fn without_huge_pages(self) -> Self {
        Self {
            huge_pages: HugePages::default(),
            ..self
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            huge_pages: self.huge_pages.plus(other.huge_pages),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            huge_pages: self.huge_pages.minus(other.huge_pages),
        }
    }

    /// The larger of both, each for itself.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            huge_pages: self.huge_pages.max(other.huge_pages),
        }
    }

    /// Whole CPUs that cover the limit. The sum is rounded up once, never
    /// each container's share.
    fn cpus(&self) -> u64 {
        self.cpu.div_ceil(WHOLE_CPU)
    }
}

/// Rounded down: three thirds are one.
fn cpus(quota: u64, period: u64) -> u64 {
    let cpus = u128::from(quota) * u128::from(WHOLE_CPU);
    let cpus = cpus.checked_div(period.into()).unwrap_or(0);
    u64::try_from(cpus).unwrap_or(u64::MAX)
}

impl Size {
    /// `base` plus `limits`, refused above the configured maximum.
    pub(crate) fn of(guest: &config::Guest, limits: &Limits) -> Result<Self, SizingError> {
        let vcpus = u64::from(guest.default_vcpus).saturating_add(limits.cpus());
        let huge_pages = limits.huge_pages;
        let memory = (limits.memory / MIB).saturating_add(huge_pages.bytes() / MIB);
        let memory = memory.saturating_add(guest.default_memory_mib.into());
        let max_memory = u64::from(guest.max_memory_mib);
        within(vcpus, guest.max_vcpus.into(), "vCPUs", "guest.max_vcpus")?;
        within(memory, max_memory, "MiB", "guest.max_memory_mib")?;
        Ok(Self {
            vcpus: u32::try_from(vcpus).unwrap_or(guest.max_vcpus),
            memory_mib: memory,
            huge_pages,
        })
    }
}

fn within(wanted: u64, max: u64, unit: &'static str, key: &'static str) -> Result<(), SizingError> {
    if wanted <= max {
        return Ok(());
    }
    Err(SizingError::TooLarge {
        wanted,
        max,
        unit,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn size(annotations: &[(&str, &str)]) -> Result<(u32, u64), SizingError> {
        let map: HashMap<_, _> = annotations.iter().copied().collect();
        let limits = Limits::of_sandbox(|name| map.get(name).copied())?;
        let size = Size::of(&config::Guest::default(), &limits)?;
        Ok((size.vcpus, size.memory_mib))
    }

    /// The table in the user's documents, row by row.
    #[test]
    fn the_documented_table() {
        assert_eq!(size(&[]), Ok((1, 2048)));
        let shares = "io.kubernetes.cri.sandbox-cpu-shares";
        assert_eq!(size(&[(shares, "1024"), (CPU_QUOTA, "0")]), Ok((1, 2048)));
        let period = (CPU_PERIOD, "100000");
        assert_eq!(size(&[(CPU_QUOTA, "25000"), period]), Ok((2, 2048)));
        let memory = (MEMORY, "536870912");
        let quota = (CPU_QUOTA, "150000");
        assert_eq!(size(&[quota, period, memory]), Ok((3, 2560)));
        assert_eq!(size(&[(MEMORY, "104857600")]), Ok((1, 2148)));
    }

    #[test]
    fn no_limit_is_written_as_minus_one() {
        assert_eq!(
            size(&[(CPU_QUOTA, "-1"), (CPU_PERIOD, "100000")]),
            Ok((1, 2048))
        );
    }

    #[test]
    fn nonsense_and_giants_are_refused() {
        let error = size(&[(MEMORY, "lots")]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("must be a whole number, not \"lots\"")
        );
        let error = size(&[(CPU_QUOTA, "6400000"), (CPU_PERIOD, "100000")]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("65 vCPUs, the largest allowed is 64")
        );
    }

    #[test]
    fn a_lone_container_is_sized_by_its_own_limits() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "linux": {"resources": {
                "cpu": {"quota": 150_000, "period": 100_000, "shares": 4096},
                "memory": {"limit": 33_554_432}
            }}
        }))
        .unwrap();
        let size = Size::of(&config::Guest::default(), &Limits::of_container(&spec)).unwrap();
        assert_eq!((size.vcpus, size.memory_mib), (3, 2080));
    }

    #[test]
    fn huge_pages_are_memory_on_top() {
        let resources = r#"{"memory": {"limit": 33554432},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 67108864}]}"#;
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let limits = Limits::default().with(&resources);
        let size = Size::of(&config::Guest::default(), &limits).unwrap();
        assert_eq!((size.memory_mib, size.huge_pages.bytes() >> 20), (2144, 64));
        let without = limits.without_huge_pages();
        let size = Size::of(&config::Guest::default(), &without).unwrap();
        assert_eq!((size.memory_mib, size.huge_pages.bytes()), (2080, 0));
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let resources = |json: &str| serde_json::from_str::<LinuxResources>(json).unwrap();
        let before = Limits {
            cpu: 5,
            memory: 1 << 30,
            ..Limits::default()
        };
        let after = before.with(&resources(r#"{"cpu": {"quota": 50000}}"#));
        assert_eq!((after.cpu, after.memory), (500_000_000, 1 << 30));
        let after = before.with(&resources(r#"{"memory": {"limit": 4096}}"#));
        assert_eq!((after.cpu, after.memory), (5, 4096));
        let unlimited = r#"{"cpu": {"quota": -1, "period": 100000}, "memory": {"limit": -1}}"#;
        assert_eq!(before.with(&resources(unlimited)), Limits::default());
    }

    #[test]
    fn three_thirds_are_one() {
        let third = Limits {
            cpu: cpus(100_000, 300_000),
            ..Limits::default()
        };
        assert_eq!(third.plus(third).plus(third).cpus(), 1);
    }

    proptest! {
        #[test]
        fn never_smaller_than_the_base_and_never_above_the_maximum(
            quota in any::<u64>(), period in any::<u64>(), memory in any::<u64>()
        ) {
            let guest = config::Guest::default();
            let limits = Limits { cpu: cpus(quota, period), memory, ..Limits::default() };
            if let Ok(size) = Size::of(&guest, &limits) {
                prop_assert!((guest.default_vcpus..=guest.max_vcpus).contains(&size.vcpus));
                prop_assert!(size.memory_mib >= guest.default_memory_mib.into());
                prop_assert!(size.memory_mib <= guest.max_memory_mib.into());
            }
        }
    }
}
