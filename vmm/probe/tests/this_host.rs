//! The probe on the host of the test, whatever that has.

use std::fs;

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").map_or(0, |maps| {
        maps.lines().filter(|line| line.contains("kvm")).count()
    })
}

fn verdict() -> String {
    probe::kvm().map_or_else(|why| why.to_string(), |report| format!("{report:?}"))
}

/// One test, so that no other opens a file meanwhile.
#[test]
fn it_says_the_same_twice_and_leaves_nothing_behind() {
    let before = open_files();
    let first = verdict();
    assert_eq!(first, verdict());
    assert_eq!(open_files(), before, "a descriptor is left after: {first}");
    assert_eq!(mappings(), 0, "a mapping is left after: {first}");
}
