//! What a suite says of cases that fail, and that a lab leaves nothing behind.
//! `cases-that-fail` is the suite; these tests read what it prints.

// A test's panic is its verdict.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SUITE: &str = env!("CARGO_BIN_EXE_cases-that-fail");
const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// The exit code, and both streams.
fn suite(place: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(SUITE)
        .args(arguments)
        .env("KATA_MSHV_TEST_PLACE", place)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code(), text)
}

/// The paragraph that a failed case has to itself.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("---- {name} ----");
    let (_, rest) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {start} in:\n{text}"));
    let end = rest.find("\n---- ").or_else(|| rest.find("\nfailures:"));
    &rest[..end.unwrap_or(rest.len())]
}

/// Of those that take nothing else along.
fn check_verdicts(text: &str) {
    assert!(text.contains("2 passed; 6 failed"), "{text}");
    assert!(section(text, "panics").contains("arithmetic"), "{text}");
    assert!(section(text, "errs").contains("InvalidDigit"), "{text}");
    let aborted = section(text, "aborts");
    assert!(aborted.contains("killed by SIGABRT"), "{aborted}");
    assert!(aborted.contains("about to abort"), "{aborted}");
    let hung = section(text, "hangs");
    assert!(hung.contains("still running after 2s"), "{hung}");
    assert!(hung.contains("about to hang"), "{hung}");
    assert!(section(text, "exits").contains("exited with 7"), "{text}");
}

#[test]
fn each_case_gets_its_own_verdict_in_a_lab() {
    let (code, text) = suite("lab", &[]);
    assert_eq!(code, Some(101), "{text}");
    check_verdicts(&text);
    // The lab's kernel says why, and the case behind gets a new lab.
    let crashed = section(&text, "crashes_the_machine");
    assert!(crashed.contains("sysrq triggered crash"), "{crashed}");
    assert_eq!(text.matches("lab: ready after").count(), 2, "{text}");
}

#[test]
fn each_case_gets_its_own_verdict_on_the_host() {
    let (code, text) = suite("here", &[]);
    assert_eq!(code, Some(101), "{text}");
    check_verdicts(&text);
    assert!(!text.contains("lab: ready"), "{text}");
}

#[test]
fn a_name_selects_and_good_cases_succeed() {
    let (code, text) = suite("lab", &["good"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 passed; 0 failed"), "{text}");
    assert!(text.contains("6 filtered out"), "{text}");
}

#[test]
fn no_lab_is_started_for_nothing() {
    let (code, text) = suite("lab", &["--list"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("panics: test"), "{text}");
    assert!(!text.contains("lab: ready"), "{text}");
}

#[test]
fn a_lab_that_cannot_start_says_why() {
    let output = Command::new(SUITE)
        .arg("good")
        .env("KATA_MSHV_TEST_PLACE", "lab")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert!(
        section(&text, "good").contains("Debian has it in qemu-system-x86"),
        "{text}"
    );
}

#[test]
fn a_program_that_does_not_enter_is_told() {
    // The test program itself: libtest's main knows nothing of labs, and ends.
    let error = lab::Lab::new().start().map(drop).unwrap_err().to_string();
    assert!(error.contains("the lab ended"), "{error}");
    assert!(error.contains("Attempted to kill init"), "{error}");
}

#[test]
fn the_command_line_runs_programs() {
    let output = Command::new(LAB)
        .args([
            "--file",
            &format!("{LAB}:/bin/again"),
            "/bin/again",
            "--help",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("true /dev/kvm"), "{text}");
}

/// Everything is where it is here, and nothing can be written but in memory.
#[test]
fn the_hosts_files_are_a_labs_root() {
    let script = format!(
        "test -x {LAB} && echo $TMPDIR && echo > $TMPDIR/new && \
         ! echo > /tmp/new-{} && grep -c '^host / 9p ro' /proc/mounts",
        std::process::id()
    );
    let output = Command::new(LAB)
        .args(["--host-files", "--", "/bin/sh", "-c", &script])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.first(), Some(&lab::SCRATCH), "{text}");
    assert_eq!(lines.last(), Some(&"1"), "{text}");
}

/// Killed without a chance to clean up.
#[test]
fn nothing_is_left_of_a_killed_caller() {
    let mut caller = Command::new(SUITE)
        .args(["hangs", "--nocapture"])
        .env("KATA_MSHV_TEST_PLACE", "lab")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(caller.stderr.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("about to hang"))
    );
    let machine = child_of(caller.id()).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_running(machine) {
        assert!(
            Instant::now() < deadline,
            "QEMU {machine} outlives its caller"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|process| stat(*process).is_some_and(|fields| fields[1] == parent.to_string()))
}

fn is_running(process: u32) -> bool {
    stat(process).is_some_and(|fields| fields[0] != "Z")
}

/// What follows the name in /proc/PID/stat: state, parent, ...
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}
