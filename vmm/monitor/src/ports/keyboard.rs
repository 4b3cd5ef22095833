//! The keyboard controller (Intel 8042), of which only the line is there that
//! resets a PC: how a kernel reboots a machine without ACPI.

use vm_memory::{Bytes, GuestMemoryMmap};
use vmm_api::StopReason;

use crate::memory::layout::RESET_FLAG;

/// Status when read, command when written.
pub(super) const PORT: u16 = 0x64;
/// No data, and ready for a command.
pub(super) const STATUS: u8 = 0;
/// Pulse output line 0, which is the processor's reset.
const PULSE_RESET: u8 = 0xfe;

/// What a kernel leaves for a BIOS that shall not test memory: a warm reboot.
/// Ours reboots warm only when it panics (`reboot=panic_warm`).
const WARM: u16 = 0x1234;

/// The reason, if the command ends the machine.
pub(super) fn command(bytes: &[u8], memory: &GuestMemoryMmap) -> Option<StopReason> {
    if bytes.first() != Some(&PULSE_RESET) {
        return None;
    }
    let panicked = memory
        .read_obj::<u16>(RESET_FLAG)
        .is_ok_and(|flag| flag == WARM);
    Some(match panicked {
        true => StopReason::Panicked,
        false => StopReason::Rebooted,
    })
}
