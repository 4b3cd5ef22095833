//! The kernel's command line.

use std::fmt::Write as _;

use vm_memory::{Bytes, GuestMemoryError, GuestMemoryMmap};

use crate::memory::layout::COMMAND_LINE;
use crate::virtio::Slot;

/// Longest command line without its terminator: COMMAND_LINE_SIZE of x86
/// (arch/x86/include/asm/setup.h) is 2048 with it.
const MOST: usize = 2047;

/// What every machine needs, with why.
#[rustfmt::skip]
const FIXED: &[&str] = &[
    "console=ttyS0",
    // Each character to the serial port is an exit.
    "quiet",
    // One port to look for instead of four.
    "8250.nr_uarts=1",
    // A panic resets the machine at once, by the keyboard controller's line;
    // a "warm" reset is how the monitor knows it from an ordinary one.
    "panic=-1", "reboot=k,panic_warm",
    // Neither is there.
    "acpi=off", "pci=off",
    // The host knows the counter's rate and keeps it; there is no timer chip
    // to check it or interrupts against.
    "tsc=reliable", "no_timer_check",
    // A kernel that patches itself for one processor has to undo it for more.
    "noreplace-smp",
];

/// Memory that comes is used at once, and only for what can be moved out of it
/// again when it goes.
const LATE_MEMORY: &str = " memhp_default_state=online_movable";

/// A command line that no kernel takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// Longer than the kernel's buffer.
    #[error(
        "the kernel's command line has {length} bytes, {MOST} at most: shorten guest.kernel_parameters"
    )]
    Long {
        /// Its length.
        length: usize,
    },
    /// It would end, or mean something else, in the middle.
    #[error("the kernel's parameters contain {character:?}: only printable ASCII is possible")]
    Character {
        /// Which.
        character: char,
    },
}

/// A command line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// Of parameters as they are.
    ///
    /// # Errors
    /// When there are too many or the wrong characters in them.
    pub fn new(text: &str) -> Result<Self, CommandLineError> {
        if let Some(character) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            return Err(CommandLineError::Character { character });
        }
        match text.len() {
            0..=MOST => Ok(Self(text.to_owned())),
            length => Err(CommandLineError::Long { length }),
        }
    }

    /// Of a machine that boots with `online` processors and a time stamp
    /// counter of `tsc_khz`, if that is known, and can get more memory if
    /// `memory_grows`; `configured` comes last, because
    /// the last of two equal names wins.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_machine(
        online: u8,
        tsc_khz: Option<u32>,
        memory_grows: bool,
        configured: &str,
    ) -> Result<Self, CommandLineError> {
        let mut text = FIXED.join(" ");
        // Writing to a string cannot fail.
        let _ = write!(text, " maxcpus={online}");
        if let Some(khz) = tsc_khz {
            let _ = write!(text, " tsc_early_khz={khz}");
        }
        if memory_grows {
            text.push_str(LATE_MEMORY);
        }
        for slot in Slot::all() {
            let (size, base, line) = (Slot::SIZE, slot.address(), slot.interrupt_line());
            let _ = write!(text, " virtio_mmio.device={size}@{base:#x}:{line}");
        }
        if !configured.is_empty() {
            let _ = write!(text, " {configured}");
        }
        Self::new(&text)
    }

    /// Bytes, without the terminator.
    #[must_use]
    pub fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn write(&self, memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
        let mut bytes = self.0.clone().into_bytes();
        bytes.push(0);
        memory.write_slice(&bytes, COMMAND_LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_declared_and_there_is_room_for_more() {
        let line = CommandLine::of_machine(2, Some(2_445_421), false, "agent.log=debug").unwrap();
        assert_eq!(line.0.matches("virtio_mmio.device=").count(), Slot::COUNT);
        assert!(line.0.contains(" virtio_mmio.device=512@0xd0000000:5 "));
        assert!(line.0.contains(" maxcpus=2 tsc_early_khz=2445421 "));
        assert!(line.0.ends_with(" agent.log=debug"));
        assert!(line.0.len() + 500 < MOST, "{}", line.0.len());
    }

    #[test]
    fn what_does_not_fit_or_print_is_refused() {
        let long = "x".repeat(MOST + 1);
        let error = CommandLine::new(&long).unwrap_err();
        assert_eq!(error, CommandLineError::Long { length: MOST + 1 });
        for (text, character) in [("a\0b", '\0'), ("a\nb", '\n'), ("é", 'é')] {
            let error = CommandLineError::Character { character };
            assert_eq!(CommandLine::new(text), Err(error));
        }
    }
}
