//! I/O ports: those of a PC that a kernel without ACPI and PCI still uses.
//!
//! Interrupt controllers are KVM's. What is not in the table is not there:
//! reads give all ones, as an empty bus does, and writes go nowhere.

mod console;
mod keyboard;
mod serial;

use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemoryMmap;
use vmm_api::StopReason;
use vmm_sys_util::eventfd::EventFd;

pub use console::{Console, Lost};
use serial::SerialPort;

/// A chip behind some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chip {
    /// The serial port.
    Serial,
    /// The keyboard controller's status and command.
    Keyboard,
    /// Where the agent says that it is done.
    Exit,
}

/// First port, last port, what is there.
const PORTS: [(u16, u16, Chip); 3] = [
    (serial::FIRST, serial::FIRST + 7, Chip::Serial),
    (keyboard::PORT, keyboard::PORT, Chip::Keyboard),
    (EXIT, EXIT, Chip::Exit),
];

/// A byte written here ends the machine: the guest's exit status. Nothing of a
/// PC's is there.
pub const EXIT: u16 = 0x604;

/// All ports.
pub struct Ports {
    serial: Mutex<SerialPort>,
    memory: GuestMemoryMmap,
}

impl Ports {
    /// With a serial port that writes to `console`, and interrupts by
    /// `interrupt`.
    #[must_use]
    pub fn new(console: Console, interrupt: EventFd, memory: GuestMemoryMmap) -> Self {
        Self {
            serial: Mutex::new(SerialPort::new(interrupt, console)),
            memory,
        }
    }

    /// GSI of the serial port.
    pub const SERIAL_LINE: u32 = 4;

    /// The guest writes. The reason, if that ends the machine.
    pub fn write(&self, port: u16, bytes: &[u8]) -> Option<StopReason> {
        match chip(port)? {
            (Chip::Serial, offset) => {
                self.serial().write(offset, bytes);
                None
            }
            (Chip::Keyboard, _) => keyboard::command(bytes, &self.memory),
            (Chip::Exit, _) => bytes
                .first()
                .map(|status| StopReason::Exited { status: *status }),
        }
    }

    /// The guest reads.
    pub fn read(&self, port: u16, bytes: &mut [u8]) {
        bytes.fill(match chip(port) {
            Some((Chip::Serial, offset)) => self.serial().read(offset),
            Some((Chip::Keyboard, _)) => keyboard::STATUS,
            Some((Chip::Exit, _)) | None => 0xff,
        });
    }

    /// Writes out what the console still holds.
    pub fn flush(&self) {
        self.serial().flush();
    }

    fn serial(&self) -> MutexGuard<'_, SerialPort> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is at `port`, and at which offset in it.
fn chip(port: u16) -> Option<(Chip, u8)> {
    let (first, _, chip) = PORTS
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&port))?;
    Some((*chip, u8::try_from(port - first).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::layout::RESET_FLAG;
    use crate::memory::ram;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use vm_memory::Bytes;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    fn ports(console: Option<OwnedFd>) -> (Ports, GuestMemoryMmap) {
        let memory = ram::allocate(64).unwrap();
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let console = Console::new(console, Lost::default()).unwrap();
        let ports = Ports::new(console, interrupt, memory.clone());
        (ports, memory)
    }

    #[test]
    fn a_line_on_the_serial_port_reaches_the_console() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (ports, _) = ports(Some(theirs.into()));
        for byte in b"hello\nrest" {
            assert_eq!(ports.write(serial::FIRST, &[*byte]), None);
        }
        ports.flush();
        drop(ports);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\nrest");
    }

    #[test]
    fn a_reset_is_a_panic_if_the_kernel_left_a_word_for_it() {
        let (ports, memory) = ports(None);
        let reset = |flag: u16| {
            memory.write_obj(flag, RESET_FLAG).unwrap();
            ports.write(0x64, &[0xfe])
        };
        assert_eq!(reset(0), Some(StopReason::Rebooted));
        assert_eq!(reset(0x1234), Some(StopReason::Panicked));
        assert_eq!(ports.write(0x64, &[0xaa]), None);
    }

    #[test]
    fn the_exit_port_takes_a_status() {
        let (ports, _) = ports(None);
        assert_eq!(
            ports.write(EXIT, &[3]),
            Some(StopReason::Exited { status: 3 })
        );
        assert_eq!(ports.write(EXIT, &[]), None);
    }

    #[test]
    fn nothing_is_anywhere_else() {
        let (ports, _) = ports(None);
        for port in [0, 0x61, 0x71, 0x2f8, 0x3f7, 0x400, 0xcfc, u16::MAX] {
            let mut bytes = [0; 4];
            ports.read(port, &mut bytes);
            assert_eq!(bytes, [0xff; 4], "{port:#x}");
            assert_eq!(ports.write(port, &[0xfe]), None);
        }
        let mut status = [0xff];
        ports.read(0x64, &mut status);
        assert_eq!(
            status,
            [0],
            "a kernel waits for the input buffer to be empty"
        );
    }
}
