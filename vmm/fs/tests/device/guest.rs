//! A virtual machine under QEMU's emulation uses the share, and the host
//! changes it meanwhile. The cases are in `examples/guest`, which is PID 1 of
//! that machine; here is the host's half.

use std::sync::Mutex;

use anyhow::{Context, ensure};

use crate::machine::Machine;
use crate::process::Device;
use crate::share::Share;

/// One machine at a time: two would spoil each other's figures.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_guest_uses_the_share_with_the_default_cache() -> anyhow::Result<()> {
    all_cases_pass(&[])
}

#[test]
fn a_guest_uses_the_share_without_a_cache_and_with_threads() -> anyhow::Result<()> {
    all_cases_pass(&["--cache", "never", "--threads", "2"])
}

fn all_cases_pass(options: &[&str]) -> anyhow::Result<()> {
    let _turn = TURN.lock();
    let share = Share::new()?;
    let device = Device::start(&share, options)?;
    let mut machine = Machine::boot(&device)?;
    let failed = converse(&mut machine, &share)?;
    machine.ends()?;
    device.ends()?;
    ensure!(
        failed.is_empty(),
        "{} cases failed: {failed:#?}",
        failed.len()
    );
    Ok(())
}

/// Does what the guest asks for, until it says that it is through, and returns
/// the cases that failed.
fn converse(machine: &mut Machine, share: &Share) -> anyhow::Result<Vec<String>> {
    let mut failed = Vec::new();
    let mut passed = 0;
    loop {
        let line = machine.line().context("the guest stopped talking")?;
        println!("{line}");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ASK", request) => machine.answer(&share.serve(request))?,
            ("PASS", _) => passed += 1,
            ("FAIL", case) => failed.push(case.to_owned()),
            ("END", _) => break,
            _ => {}
        }
    }
    ensure!(passed > 0 || !failed.is_empty(), "the guest ran no case");
    Ok(failed)
}
