//! Whose limits a pod's VM has to have room for: those that the pod declared when
//! it began, and those of its containers, whichever are more.
//!
//! What was declared stays reserved while a container is not there: it may not
//! have come yet, or is being replaced by the next of its name. Huge pages are
//! declared once and for all: nobody resizes them in place.

use std::collections::BTreeMap;

use protocol::Id;

use crate::sizing::Limits;

/// The limits of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    declared: Limits,
    containers: BTreeMap<Id, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    limits: Limits,
    /// It came beside those that the pod declared.
    beside: bool,
}

impl Ledger {
    pub(super) fn new(declared: Limits) -> Self {
        Self {
            declared,
            containers: BTreeMap::new(),
        }
    }

    /// What the VM has to have room for.
    pub(super) fn total(&self) -> Limits {
        self.declared.max(self.sum())
    }

    /// With a container more.
    pub(super) fn with(&self, id: &Id, limits: Limits) -> Self {
        let mut ledger = self.clone();
        let sum = self.sum().plus(limits).without_huge_pages();
        let beside = self.declared.max(sum) != self.declared;
        ledger
            .containers
            .insert(id.clone(), Entry { limits, beside });
        ledger
    }

    /// With a container of which `change` makes other limits; as it is, without
    /// such a container.
    pub(super) fn changed(&self, id: &Id, change: impl FnOnce(Limits) -> Limits) -> Self {
        let mut ledger = self.clone();
        if let Some(entry) = ledger.containers.get_mut(id) {
            let limits = change(entry.limits);
            if !entry.beside {
                let (before, now) = (entry.limits, limits.without_huge_pages());
                let rest = ledger.declared.minus(before.without_huge_pages());
                ledger.declared = rest.plus(now);
            }
            entry.limits = limits;
        }
        ledger
    }

    /// Without a container.
    pub(super) fn without(&self, id: &Id) -> Self {
        let mut ledger = self.clone();
        ledger.containers.remove(id);
        ledger
    }

    fn sum(&self) -> Limits {
        let all = self.containers.values().map(|entry| entry.limits);
        all.fold(Limits::default(), Limits::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huge_pages::{HugePages, PageSize};

    fn limits(cpu: u64, memory: u64) -> Limits {
        Limits {
            cpu,
            memory,
            ..Limits::default()
        }
    }

    fn with_huge_pages(limits: Limits, pages: u64) -> Limits {
        let of = |size: &PageSize| pages * u64::from(size.name == "2MB") * size.bytes;
        Limits {
            huge_pages: HugePages::of(of),
            ..limits
        }
    }

    fn id(name: &str) -> Id {
        Id::new(name).unwrap()
    }

    #[test]
    fn what_was_declared_is_reserved_for_whoever_comes() {
        let ledger = Ledger::new(limits(300, 30));
        let one = ledger.with(&id("a"), limits(100, 10));
        let two = one.with(&id("b"), limits(200, 20));
        for ledger in [&ledger, &one, &two, &two.without(&id("a"))] {
            assert_eq!(ledger.total(), limits(300, 30));
        }
    }

    #[test]
    fn a_container_beside_them_adds_its_own_until_it_goes() {
        let pod = Ledger::new(limits(300, 30)).with(&id("a"), limits(300, 30));
        let debugged = pod.with(&id("debugger"), limits(50, 0));
        assert_eq!(debugged.total(), limits(350, 30));
        let changed = debugged.changed(&id("debugger"), |_| limits(70, 7));
        assert_eq!(changed.total(), limits(370, 37));
        assert_eq!(changed.without(&id("debugger")).total(), limits(300, 30));
    }

    #[test]
    fn a_change_of_limits_changes_what_is_declared() {
        let pod = Ledger::new(limits(300, 30))
            .with(&id("a"), limits(100, 10))
            .with(&id("b"), limits(200, 20));
        let more = pod.changed(&id("a"), |_| limits(400, 10));
        assert_eq!(more.total(), limits(600, 30));
        let less = pod.changed(&id("b"), |_| limits(0, 5));
        assert_eq!(less.total(), limits(100, 15));
        assert_eq!(less.without(&id("b")).total(), limits(100, 15));
        assert_eq!(pod.changed(&id("nobody"), |_| limits(9, 9)), pod);
    }

    #[test]
    fn huge_pages_of_which_the_pod_did_not_tell_go_with_their_container() {
        let pod = Ledger::new(limits(300, 30)).with(&id("a"), with_huge_pages(limits(300, 30), 4));
        assert_eq!(pod.total(), with_huge_pages(limits(300, 30), 4));
        // It is still one of those that the pod declared.
        let changed = pod.changed(&id("a"), |_| with_huge_pages(limits(100, 10), 9));
        assert_eq!(changed.total(), with_huge_pages(limits(100, 10), 9));
        assert_eq!(changed.without(&id("a")).total(), limits(100, 10));
    }

    #[test]
    fn huge_pages_of_which_the_pod_told_stay() {
        let pod = Ledger::new(with_huge_pages(limits(0, 0), 4));
        let one = pod.with(&id("a"), with_huge_pages(limits(0, 0), 4));
        for ledger in [&pod, &one, &one.without(&id("a"))] {
            assert_eq!(ledger.total(), with_huge_pages(limits(0, 0), 4));
        }
    }
}
