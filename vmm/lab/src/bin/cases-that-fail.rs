//! Cases of every kind that a suite has to tell from a good one.
//! `tests/verdicts.rs` looks at what it says of them.

use std::process::ExitCode;
use std::time::Duration;

use lab::case;

fn main() -> ExitCode {
    lab::Suite::new()
        .file("data", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .case(case("good", good))
        .case(case("panics", panics))
        .case(case("errs", errs))
        .case(case("aborts", aborts))
        .case(case("hangs", hangs).seconds(2))
        .case(case("exits", exits))
        .case(case("crashes_the_machine", crashes_the_machine))
        .case(case("good_after_all", good))
        .main()
}

fn good() {
    let text = std::fs::read_to_string(lab::path("data"));
    assert!(text.is_ok_and(|text| text.contains("name = \"lab\"")));
}

fn panics() {
    assert_eq!(1 + 1, 3, "arithmetic");
}

fn errs() -> Result<(), std::num::ParseIntError> {
    "three".parse::<i32>().map(drop)
}

fn aborts() {
    eprintln!("about to abort");
    std::process::abort();
}

fn hangs() {
    eprintln!("about to hang");
    std::thread::sleep(Duration::from_secs(3600));
}

fn exits() {
    std::process::exit(7);
}

/// As a fault in KVM would. A host is not to be harmed.
fn crashes_the_machine() {
    assert!(lab::inside(), "only in a lab");
    let _ = std::fs::write("/proc/sysrq-trigger", "c");
}
