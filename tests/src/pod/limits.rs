//! Limits and requests, translated as kubelet translates them.

use ctl::cri::v1::{HugepageLimit, LinuxContainerResources};

/// kubelet's CPU period in microseconds.
const PERIOD: i64 = 100_000;

/// What a container may use. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Requested thousandths of a CPU: a weight, not a limit.
    pub requested_milli: i64,
    /// MiB in huge pages, of 2 MiB and of 1 GiB.
    pub huge_mib: [u64; 2],
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self {
        cpu_milli: 0,
        memory: 0,
        requested_milli: 0,
        huge_mib: [0; 2],
    };

    /// `cpu_milli` thousandths of a CPU.
    #[must_use]
    pub fn cpu(cpu_milli: i64) -> Self {
        Self {
            cpu_milli,
            requested_milli: cpu_milli,
            ..Self::NONE
        }
    }

    /// Of memory, in MiB.
    #[must_use]
    pub fn memory_mib(self, mib: i64) -> Self {
        Self {
            memory: mib << 20,
            ..self
        }
    }

    /// Of huge pages of 2 MiB, in MiB.
    #[must_use]
    pub fn huge_mib(self, mib: u64) -> Self {
        Self {
            huge_mib: [mib, self.huge_mib[1]],
            ..self
        }
    }

    /// Of huge pages of 1 GiB, in GiB.
    #[must_use]
    pub fn huge_gib(self, gib: u64) -> Self {
        Self {
            huge_mib: [self.huge_mib[0], gib << 10],
            ..self
        }
    }

    /// A request alone.
    #[must_use]
    pub fn requested_cpu(requested_milli: i64) -> Self {
        Self {
            requested_milli,
            ..Self::NONE
        }
    }

    /// Of two containers together. One without a limit leaves the other's
    /// standing, as kubelet's sum for a sandbox does.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory: self.memory + other.memory,
            requested_milli: self.requested_milli + other.requested_milli,
            huge_mib: [0, 1].map(|size| self.huge_mib[size] + other.huge_mib[size]),
        }
    }

    pub(super) fn to_cri(self) -> LinuxContainerResources {
        LinuxContainerResources {
            cpu_period: PERIOD,
            cpu_quota: self.cpu_milli * PERIOD / 1000,
            // 2 is the least that the kernel takes.
            cpu_shares: (self.requested_milli * 1024 / 1000).max(2),
            memory_limit_in_bytes: self.memory,
            hugepage_limits: self.hugepage_limits(),
            ..Default::default()
        }
    }

    /// kubelet names all sizes that the host has, also those of which there is
    /// none; runc takes that ill where the host has no controller for them.
    fn hugepage_limits(self) -> Vec<HugepageLimit> {
        let limit = |(name, mib): (&str, u64)| HugepageLimit {
            page_size: name.to_owned(),
            limit: mib << 20,
        };
        match self.huge_mib {
            [0, 0] => Vec::new(),
            all => ["2MB", "1GB"].into_iter().zip(all).map(limit).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_cpu_is_a_quarter_of_the_period() {
        let cri = Limits::cpu(250).memory_mib(512).to_cri();
        assert_eq!(
            (cri.cpu_quota, cri.cpu_period, cri.cpu_shares),
            (25_000, 100_000, 256)
        );
        assert_eq!(cri.memory_limit_in_bytes, 536_870_912);
    }

    #[test]
    fn a_request_is_no_quota() {
        let cri = Limits::requested_cpu(4000).to_cri();
        assert_eq!((cri.cpu_quota, cri.cpu_shares), (0, 4096));
    }
}
