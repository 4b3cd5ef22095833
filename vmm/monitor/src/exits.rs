//! What a processor leaves the guest for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_ioctls::VcpuExit;
use vmm_api::StopReason;

use crate::ports::Ports;
use crate::virtio::slots::Slots;

/// What the processor's thread does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on in the guest.
    Enter,
    /// The machine is over.
    End(StopReason),
}

/// Handles exits, of all processors at once.
pub struct Exits {
    /// I/O ports.
    pub ports: Ports,
    /// Device registers.
    pub slots: Arc<Slots>,
    /// How many there were.
    pub counts: Counts,
}

/// How many exits of each kind there were.
#[derive(Default)]
pub struct Counts {
    /// I/O ports.
    pub port: AtomicU64,
    /// Device registers.
    pub register: AtomicU64,
    /// Anything else.
    pub other: AtomicU64,
}

impl Exits {
    /// Handles one.
    pub fn handle(&self, exit: VcpuExit<'_>) -> Next {
        match exit {
            VcpuExit::IoOut(port, bytes) => {
                count(&self.counts.port);
                self.ports.write(port, bytes).map_or(Next::Enter, Next::End)
            }
            VcpuExit::IoIn(port, bytes) => {
                count(&self.counts.port);
                self.ports.read(port, bytes);
                Next::Enter
            }
            VcpuExit::MmioWrite(address, bytes) => {
                count(&self.counts.register);
                self.write_register(address, bytes)
            }
            // Registers are read from memory; elsewhere there is nothing.
            VcpuExit::MmioRead(_, bytes) => {
                count(&self.counts.register);
                bytes.fill(0xff);
                Next::Enter
            }
            other => {
                count(&self.counts.other);
                unusual(&other)
            }
        }
    }

    fn write_register(&self, address: u64, bytes: &[u8]) -> Next {
        match self.slots.write(address, bytes) {
            Ok(()) => Next::Enter,
            Err(lost) => {
                eprintln!("{}", crate::error::chain(&lost));
                let device = lost.device.to_owned();
                Next::End(StopReason::DeviceLost { device })
            }
        }
    }
}

fn unusual(exit: &VcpuExit<'_>) -> Next {
    match exit {
        VcpuExit::Intr | VcpuExit::IrqWindowOpen => Next::Enter,
        VcpuExit::Shutdown => Next::End(StopReason::TripleFault),
        other => Next::End(StopReason::Failed {
            what: format!("run the guest: {other:?}"),
        }),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
