#![allow(unsafe_code)] // The child asks for its parent's death signal between fork and exec.

//! QEMU's command line and process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{Error, Lab, tsc};
use crate::guest::MARK;

pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Name of the port by which init finds it.
pub(crate) const PORT: &str = "lab";

/// What a lab's QEMU reads and writes besides the port.
pub(super) struct Files<'a> {
    pub(super) archive: &'a File,
    /// The lab's console, overwritten.
    pub(super) console: &'a File,
    /// QEMU's own complaints.
    pub(super) complaints: File,
}

/// One processor: with two, emulated nested virtualization hangs now and then.
/// microvm: neither firmware tables nor PCI to go through at boot. The port is
/// QEMU's stdin and stdout.
#[rustfmt::skip]
const FIXED: &[&str] = &[
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-accel", "tcg,thread=single", "-cpu", "EPYC,+svm,+npt", "-smp", "1",
    "-machine", "microvm,x-option-roms=off,isa-serial=on,rtc=on,acpi=off",
    "-global", "virtio-mmio.force-legacy=false",
    "-chardev", "stdio,id=port,signal=off",
    "-device", "virtio-serial-device", "-device", "virtserialport,chardev=port,name=lab",
    "-device", "virtio-rng-device",
    "-serial", "chardev:console",
];

/// Starts QEMU; stdin and stdout of the child are pipes. It dies with the
/// calling thread.
pub(super) fn spawn(lab: &Lab, files: Files) -> Result<Child, Error> {
    let mut command = Command::new(PROGRAM);
    command
        .args(FIXED)
        .args(["-m", &format!("{}M", lab.memory_mib)])
        .arg("-chardev")
        .arg(format!("file,id=console,path={}", path(files.console)))
        .arg("-kernel")
        .arg(&lab.kernel)
        .args(["-initrd", &path(files.archive)])
        .args(["-append", &command_line()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(files.complaints);
    // SAFETY: between fork and exec the closure makes one system call, and
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
    command.spawn().map_err(|source| Error::Start {
        program: PROGRAM,
        source,
    })
}

/// By which the child can open our file, without inheriting it.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// A kernel that panics restarts, at which QEMU ends. The mark tells init that
/// it is in a lab.
fn command_line() -> String {
    format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={} tsc=reliable nokaslr \
         no_timer_check {MARK}=1",
        tsc::khz()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_has_the_name_that_init_looks_for() {
        let named = format!("name={PORT}");
        assert!(FIXED.iter().any(|option| option.ends_with(&named)));
    }
}
