//! Running a function in namespaces of its own, so that nothing it starts,
//! mounts or plugs in can reach the host, and nothing outlives it.
//!
//! ```text
//! caller ─ keeper ──── init ──────────── inside
//!          host's      PID 1 of the      the function
//!          namespaces  bed, reaps        given to `run`
//! ```
//!
//! All four are the same executable; a variable in the environment says which
//! part it plays. The keeper lives until the bed is gone: when `inside` ends or
//! the caller dies, however it dies, the bed's PID 1 is killed and the kernel
//! takes every process, mount and interface with it; the keeper then removes
//! control groups and the folder, and compares the host with what it was.

mod cgroups;
mod host;
mod init;
mod keeper;
mod loopback;
mod mounts;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, process};

use anyhow::{Context, Result, ensure};

const ROLE: &str = "KATA_MSHV_BED_ROLE";
const CALLER: &str = "KATA_MSHV_BED_CALLER";
const FOLDER: &str = "KATA_MSHV_BED_FOLDER";
const CGROUPS: &str = "KATA_MSHV_BED_CGROUPS";

/// Set to anything, it keeps the bed's folder, with its logs, for a look.
pub const KEEP: &str = "KATA_MSHV_BED_KEEP";

/// Runs `inside` in namespaces of its own and returns its exit code.
///
/// Call it early in `main`, before there are threads: the executable starts
/// itself again with the same arguments until it arrives here as `inside`.
/// `prepare` runs before all that, still on the host.
///
/// # Errors
///
/// What `prepare` or `inside` failed with, or why the namespaces could not be
/// made.
pub fn run(
    prepare: impl FnOnce() -> Result<()>,
    inside: impl FnOnce(PathBuf) -> Result<ExitCode>,
) -> Result<ExitCode> {
    match env::var(ROLE).as_deref() {
        Ok("keeper") => keeper::keep(),
        Ok("init") => init::be(),
        Ok("inside") => inside(folder()?),
        _ => {
            ensure!(
                nix::unistd::geteuid().is_root(),
                "the bed makes namespaces and mounts: run it as root"
            );
            prepare()?;
            let status = again("keeper")
                .env(CALLER, process::id().to_string())
                .status();
            Ok(code(status.context("start the bed's keeper")?))
        }
    }
}

/// The running executable with the same arguments, in another role, which is
/// its name in lists of processes.
fn again(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(format!("bed-{role}"))
        .args(env::args_os().skip(1))
        .env(ROLE, role);
    command
}

/// The bed's folder on disk; it goes away with the bed.
fn folder() -> Result<PathBuf> {
    let folder = env::var_os(FOLDER).with_context(|| format!("{FOLDER} is not set"))?;
    Ok(folder.into())
}

/// A child's exit code as our own, as a shell gives it.
fn code(status: ExitStatus) -> ExitCode {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(number.and_then(|n| u8::try_from(n).ok()).unwrap_or(1))
}
