//! What containers may have in huge pages (`hugepages-2Mi` of Kubernetes, OCI
//! config-linux.md, "Huge page limits").

use oci_spec::runtime::LinuxHugepageLimit;

/// A size of huge pages.
pub(crate) struct PageSize {
    /// In OCI specs, and in the names of control groups' files.
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
}

/// Those that x86-64 has.
pub(crate) const PAGE_SIZES: [PageSize; 2] = [
    PageSize {
        name: "2MB",
        bytes: 2 << 20,
    },
    PageSize {
        name: "1GB",
        bytes: 1 << 30,
    },
];

/// Bytes in huge pages of each of [`PAGE_SIZES`]: whole pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HugePages([u64; PAGE_SIZES.len()]);

impl HugePages {
    /// So many bytes of each size as `bytes` says.
    pub(crate) fn of(bytes: impl Fn(&PageSize) -> u64) -> Self {
        let whole = |size: &PageSize| bytes(size) / size.bytes * size.bytes;
        Self(PAGE_SIZES.each_ref().map(whole))
    }

    /// After an update by `limits`: sizes that they do not name stay; of two for one
    /// size the last counts, since containerd adds those of an update to the others.
    /// Other sizes than x86-64's nobody can have.
    pub(crate) fn with(self, limits: &[LinuxHugepageLimit]) -> Self {
        let limit = |size: &PageSize| {
            let named = limits
                .iter()
                .rfind(|limit| limit.page_size() == size.name)?;
            Some(u64::try_from(named.limit()).unwrap_or(0))
        };
        Self::of(|size| limit(size).unwrap_or(self.in_pages_of(size.bytes)))
    }

    /// Bytes in pages of that size.
    pub(crate) fn in_pages_of(&self, page_size: u64) -> u64 {
        let mut all = self.each();
        all.find(|(size, _)| *size == page_size)
            .map_or(0, |(_, bytes)| bytes)
    }

    /// Bytes of all.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().copied().fold(0, u64::saturating_add)
    }

    /// The size of a page, and bytes in such pages.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        PAGE_SIZES.iter().map(|size| size.bytes).zip(self.0)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.zipped(other, u64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.zipped(other, u64::saturating_sub)
    }

    /// The larger of both, each size for itself.
    pub(crate) fn max(self, other: Self) -> Self {
        self.zipped(other, u64::max)
    }

    /// The smaller of both, each size for itself.
    pub(crate) fn min(self, other: Self) -> Self {
        self.zipped(other, u64::min)
    }

    fn zipped(mut self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        for (one, other) in self.0.iter_mut().zip(other.0) {
            *one = both(*one, other);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Vec<LinuxHugepageLimit> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn limits_are_whole_pages_and_what_is_not_named_stays() {
        let both = limits(
            r#"[{"pageSize": "2MB", "limit": 4194305}, {"pageSize": "1GB", "limit": 1073741824},
                {"pageSize": "64KB", "limit": 65536}]"#,
        );
        let pages = HugePages::default().with(&both);
        assert_eq!(pages.in_pages_of(2 << 20), 4 << 20);
        assert_eq!(pages.bytes(), (4 << 20) + (1 << 30));
        let less = r#"[{"pageSize": "1GB", "limit": 2147483648}, {"pageSize": "1GB", "limit": 0}]"#;
        assert_eq!(pages.with(&limits(less)).bytes(), 4 << 20);
    }

    #[test]
    fn sizes_do_not_mix() {
        let small = HugePages::of(|size| u64::from(size.name == "2MB") << 21);
        let large = HugePages::of(|size| u64::from(size.name == "1GB") << 30);
        let both = small.plus(large);
        assert_eq!(small.max(large), both);
        assert_eq!(both.minus(large), small);
    }
}
