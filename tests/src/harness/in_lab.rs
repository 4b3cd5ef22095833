//! The same test executable, run again in a lab.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Ending, Lab, Program};

use super::{arguments, list, prepare};
use crate::bed::Setup;
use crate::harness::kernel::Kernel;
use crate::harness::selection::Selection;

/// All cases take less, on a busy host too; each has its own limit.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Guests and images are in the lab's memory, which is taken as it is touched.
const MEMORY_MIB: u32 = 4096;

/// Variables of this run that are the cases' business.
const PREFIX: &str = "KATA_MSHV_";

pub(super) fn run(setup: Setup, chosen: &'static [&'static str]) -> Result<ExitCode> {
    let arguments = arguments();
    let selection = Selection::new(setup, Kernel::Labs, Some(chosen))?;
    if arguments.list || !selection.leaves_any(&arguments) {
        return Ok(list(&arguments, selection));
    }
    prepare(setup)?;
    let lab = Lab::new().host_files().memory_mib(MEMORY_MIB);
    let mut machine = lab.start()?;
    eprintln!("lab: ready after {}", machine.boot_time());
    let outcome = machine.run(&again()?, &mut |line| println!("{line}"))?;
    Ok(match outcome.ending {
        Ending::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        ending => {
            eprintln!("the cases in the lab: {ending}");
            ExitCode::FAILURE
        }
    })
}

/// This program with the same arguments.
fn again() -> Result<Program> {
    let executable = env::current_exe().context("find the running executable")?;
    let program = Program::new(executable.display().to_string())
        .args(env::args().skip(1))
        .env("HOME", env::var("HOME").unwrap_or_default())
        .within(LIMIT);
    let ours = env::vars().filter(|(name, _)| name.starts_with(PREFIX));
    Ok(ours.fold(program, |program, (name, value)| program.env(name, value)))
}
