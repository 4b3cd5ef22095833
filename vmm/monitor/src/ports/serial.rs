//! The serial port, an NS16550A: the kernel's console from its first words on.

use std::io;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::console::Console;

/// First of eight ports: COM1.
pub(super) const FIRST: u16 = 0x3f8;

/// Its interrupt, by KVM.
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The port. It writes only: nobody types.
pub(super) struct SerialPort(Serial<Line, NoEvents, Console>);

impl SerialPort {
    pub(super) fn new(interrupt: EventFd, console: Console) -> Self {
        Self(Serial::new(Line(interrupt), console))
    }

    /// Bytes written to the register at `offset`, one after the other.
    pub(super) fn write(&mut self, offset: u8, bytes: &[u8]) {
        for byte in bytes {
            // The console takes everything, and the interrupt's descriptor is
            // never full.
            let _ = self.0.write(offset, *byte);
        }
    }

    pub(super) fn read(&mut self, offset: u8) -> u8 {
        self.0.read(offset)
    }

    pub(super) fn flush(&mut self) {
        self.0.writer_mut().flush_line();
    }
}
