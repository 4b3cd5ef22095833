//! Every target over what fuzzers have found worth keeping, and over what they
//! once broke something with, without a fuzzer.

#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// Of inputs, and of a folder with each target's.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(target);
    let mut files: Vec<_> = match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

/// The name of the input that is tried is what a failure is found by.
fn try_all(folder: &str) -> usize {
    let mut count = 0;
    for (target, run) in TARGETS {
        for input in inputs(folder, target) {
            println!("{}", input.display());
            run(&fs::read(&input).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn the_corpus_breaks_nothing() {
    for (target, _) in TARGETS {
        assert!(!inputs("corpus", target).is_empty(), "{target} has none");
    }
    assert!(try_all("corpus") > TARGETS.len());
}

#[test]
fn what_was_broken_once_is_mended() {
    try_all("regressions");
}

#[test]
fn short_and_long_nonsense_is_survived() {
    for (target, run) in TARGETS {
        println!("{target}");
        for byte in [0, 1, 0x7f, 0xff] {
            for length in [0, 1, 7, 64, 4096] {
                run(&vec![byte; length]);
            }
        }
    }
}

/// What is a folder here is a target there, and an executable.
#[test]
fn every_target_has_an_executable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut targets: Vec<_> = TARGETS
        .iter()
        .map(|(name, _)| format!("{name}.rs"))
        .collect();
    files.sort();
    targets.sort();
    assert_eq!(files, targets);
}
