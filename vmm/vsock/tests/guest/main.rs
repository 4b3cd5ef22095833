//! The device against a real guest: QEMU with TCG boots a Linux whose init is
//! this very executable. Each case has a guest half and a host half that run at
//! the same time, the host half with the sockets that the device hands over.
//!
//! Needs `qemu-system-x86_64` and a guest kernel: `KATA_MSHV_TEST_KERNEL`, or
//! `target/guest/vmlinux` of the workspace. `KATA_MSHV_TEST_VSOCK` names another
//! build of the device, such as a release one for measurements.

mod bulk;
mod cases;
mod close;
mod control;
mod crowd;
mod dial;
mod initramfs;
mod machine;
mod monitor;
mod pattern;
mod shim;
mod speed;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        control::guest(&arguments);
    }
    if arguments.iter().any(|a| a == "--list") {
        cases::ALL
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = arguments
        .into_iter()
        .filter(|a| !a.starts_with('-'))
        .collect();
    match control::host(&filters) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
