//! The end of the guest.

use rustix::system::{RebootCommand, reboot};

/// Ends the machine at once.
///
/// A restart, not a power-off: with `reboot=t` on the kernel's command line it
/// is a triple fault, which every machine monitor ends on (QEMU with
/// `-no-reboot`), whether or not the machine has ACPI to power off with.
pub(crate) fn power_off() -> ! {
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            tracing::error!(%error, "reboot");
        }
        // PID 1 must not return: the kernel would panic instead.
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
