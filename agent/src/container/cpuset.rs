//! Lists of CPUs or memory nodes: `0-3,7` (cpuset(7), "List format").

use std::collections::BTreeSet;

/// More than any machine has; a list beyond it is not one.
const LIMIT: u32 = 8192;

/// The part of `wanted` that is in `present`, as a list; `None` when nothing is
/// left, or `wanted` is not a list: it was written for another machine.
pub(crate) fn restrict(wanted: &str, present: &str) -> Option<String> {
    let (wanted, present) = (parse(wanted)?, parse(present)?);
    let common: Vec<_> = wanted
        .intersection(&present)
        .map(ToString::to_string)
        .collect();
    (!common.is_empty()).then(|| common.join(","))
}

fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
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
    fn only_what_the_guest_has_is_left() {
        assert_eq!(restrict("0-3,7", "0-1").as_deref(), Some("0,1"));
        assert_eq!(restrict("1", "0-1\n").as_deref(), Some("1"));
        assert_eq!(restrict("4-5", "0-1"), None);
        assert_eq!(restrict("", "0-1"), None);
    }

    #[test]
    fn what_is_not_a_list_is_no_restriction() {
        assert_eq!(restrict("0-4294967295", "0"), None);
        assert_eq!(restrict("all", "0"), None);
    }

    proptest! {
        #[test]
        fn the_result_is_always_within_the_guest(wanted in "[0-9,-]{0,20}") {
            if let Some(list) = restrict(&wanted, "0-2") {
                prop_assert!(parse(&list).unwrap().is_subset(&parse("0-2").unwrap()));
            }
        }
    }
}
