//! PID 1 of the test guest: mounts the share, runs the cases, reports each on
//! the serial console, and powers off. `tests/guest.rs` is the other half.
//!
//! Run again with an argument, it plays the second process of a case.

mod console;
mod data;
mod host;
mod kinds;
mod links;
mod locks;
mod overlay;
mod owners;
mod second;
mod speed;
mod start;
mod xattrs;

use std::time::Instant;

use console::Console;

/// Where the share is mounted.
const SHARE: &str = "/share";

/// A case: its name and what it checks.
type Case = (&'static str, fn(&mut Console) -> anyhow::Result<()>);

const GROUPS: &[&[Case]] = &[
    data::CASES,
    links::CASES,
    xattrs::CASES,
    owners::CASES,
    kinds::CASES,
    locks::CASES,
    host::CASES,
    overlay::CASES,
    speed::CASES,
];

fn main() {
    if std::process::id() != 1 {
        std::process::exit(second::play());
    }
    if let Err(error) = run() {
        println!("FAIL start: {error:#}");
    }
    start::power_off();
}

fn run() -> anyhow::Result<()> {
    start::mount_system()?;
    let mut console = Console::open()?;
    start::mount_share(SHARE)?;
    for (name, case) in GROUPS.iter().flat_map(|group| group.iter()) {
        let began = Instant::now();
        let outcome = case(&mut console);
        console.report(name, began.elapsed(), outcome)?;
    }
    console.say("END")
}
