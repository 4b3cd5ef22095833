//! The running program, run again in a lab: a bed where VMs are the built-in VMM's.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Ending, Lab, Program};

/// All cases take less, on a busy host too; each has its own limit.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Guests and images are in the lab's memory, which is taken as it is touched.
const MEMORY_MIB: u32 = 4096;

/// Variables of this run that concern the one in the lab.
const PREFIX: &str = "KATA_MSHV_";

/// This program with the same arguments in a lab that has the host's files; its code.
///
/// # Errors
///
/// The lab does not start, or is lost.
pub fn again() -> Result<ExitCode> {
    let lab = Lab::new().host_files().memory_mib(MEMORY_MIB);
    let mut machine = lab.start()?;
    eprintln!("lab: ready after {}", machine.boot_time());
    let outcome = machine.run(&program()?, &mut |line| println!("{line}"))?;
    Ok(match outcome.ending {
        Ending::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        ending => {
            eprintln!("in the lab: {ending}");
            ExitCode::FAILURE
        }
    })
}

fn program() -> Result<Program> {
    let executable = env::current_exe().context("find the running executable")?;
    let program = Program::new(executable.display().to_string())
        .args(env::args().skip(1))
        .env("HOME", env::var("HOME").unwrap_or_default())
        // No udev is there: device mapper's tools are to make the nodes of devices.
        .env("DM_DISABLE_UDEV", "1")
        .within(LIMIT);
    let ours = env::vars().filter(|(name, _)| name.starts_with(PREFIX));
    Ok(ours.fold(program, |program, (name, value)| program.env(name, value)))
}
