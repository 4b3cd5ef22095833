//! Lists of CPUs or memory nodes: `0-3,7` (cpuset(7), "List format").

use std::collections::BTreeSet;

/// More than any machine has; a list beyond it is not one.
const LIMIT: usize = 8192;

/// The numbers of the list `wanted`, if all of them are in `present`. Otherwise,
/// or if it is no list, it was written for another machine. A part of it would
/// be a choice that nobody made, and leave fewer CPUs than were asked for.
pub(crate) fn within(wanted: &str, present: &str) -> Option<BTreeSet<usize>> {
    let (wanted, present) = (parse(wanted)?, parse(present)?);
    (!wanted.is_empty() && wanted.is_subset(&present)).then_some(wanted)
}

fn parse(list: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= LIMIT {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_counts_as_a_whole_or_not_at_all() {
        assert_eq!(within("0-1,3", "0-3"), Some([0, 1, 3].into()));
        assert_eq!(within("1", "0-1\n"), Some([1].into()));
        assert_eq!(within("2-3", "0-2"), None);
        assert_eq!(within("4-5", "0-1"), None);
        assert_eq!(within("", "0-1"), None);
    }

    #[test]
    fn what_is_not_a_list_is_no_restriction() {
        assert_eq!(within("0-4294967295", "0"), None);
        assert_eq!(within("all", "0"), None);
    }

    proptest! {
        #[test]
        fn the_result_is_always_within_the_guest(wanted in "[0-9,-]{0,20}") {
            if let Some(numbers) = within(&wanted, "0-2") {
                prop_assert!(numbers.is_subset(&[0, 1, 2].into()));
            }
        }
    }
}
