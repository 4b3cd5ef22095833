#![allow(unsafe_code)] // The child asks for its parent's death signal between fork and exec.

//! QEMU's command line and process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

use super::Error;
use crate::guest::{HOST_FILES, MARK, SCRATCH};

pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Name of the port by which init finds it.
pub(crate) const PORT: &str = "lab";

/// A QEMU to start.
pub(super) struct Order {
    pub(super) kernel: PathBuf,
    pub(super) memory_mib: u32,
    pub(super) host_files: bool,
    /// Path of the initramfs.
    pub(super) archive: String,
    /// Path of the file for the lab's console.
    pub(super) console: String,
    /// For QEMU's own.
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

/// The host's root for [`HOST_FILES`]. Files of several file systems of the host
/// are told apart by `remap`.
#[rustfmt::skip]
const HOST_ROOT: &[&str] = &[
    "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
    "-device", "virtio-9p-device,fsdev=host,mount_tag=host",
];

/// Starts QEMU; stdin and stdout of the child are pipes. It dies with the
/// calling thread.
pub(super) fn spawn(order: Order) -> Result<Child, Error> {
    let mut command = Command::new(PROGRAM);
    if order.host_files {
        command.args(HOST_ROOT);
    }
    command
        .args(FIXED)
        .args(["-m", &format!("{}M", order.memory_mib)])
        .arg("-chardev")
        .arg(format!("file,id=console,path={}", order.console))
        .arg("-kernel")
        .arg(order.kernel)
        .args(["-initrd", &order.archive])
        .args(["-append", &command_line(order.host_files)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(order.complaints);
    let caller = getpid();
    // SAFETY: between fork and exec the closure makes two system calls, and
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || die_with(caller));
    }
    command.spawn().map_err(|source| Error::Start {
        program: PROGRAM,
        source,
    })
}

/// The caller may be gone before this is set.
fn die_with(caller: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == caller {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// By which the child can open our file, without inheriting it.
pub(super) fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Of programs among the host's files.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A kernel that panics restarts, at which QEMU ends. The local timer is not
/// used, for calibrating it takes a third of the boot, and the other one is as
/// exact; patching the code for one processor would take another tenth. The mark
/// tells init that it is in a lab;
/// what else has a `=` and is nothing to the kernel gets into init's environment.
fn command_line(host_files: bool) -> String {
    let mut line = format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz={} tsc=reliable nokaslr \
         no_timer_check nolapic_timer noreplace-smp {MARK}=1",
        probe::Tsc::begin().khz()
    );
    if host_files {
        line.push_str(&format!(" {HOST_FILES}=1 TMPDIR={SCRATCH} PATH={PATH}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::HOST_TAG;

    #[test]
    fn the_port_has_the_name_that_init_looks_for() {
        let named = format!("name={PORT}");
        assert!(FIXED.iter().any(|option| option.ends_with(&named)));
    }

    #[test]
    fn the_host_has_the_tag_that_init_mounts() {
        let tagged = format!("mount_tag={HOST_TAG}");
        assert!(HOST_ROOT.iter().any(|option| option.ends_with(&tagged)));
    }
}
