#![allow(unsafe_code)] // KVM is given memory by its address.

//! A guest of one page and four instructions.
//!
//! They store pi, rounded, with the x87 unit: each processor that KVM runs on
//! has had these instructions from its first day, they need no mode or feature
//! to be switched on, and KVM's instruction emulator knows none that calculate.
//! With hardware (or under a hypervisor that emulates hardware, as QEMU does
//! nested SVM) the guest halts behind them with a 3 in its memory; without, KVM
//! reports that it could not emulate.

use std::cell::UnsafeCell;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

use crate::verdict::{NoKvm, Sign};

const PAGE: usize = 4096;

// Where things are in the page. The interrupt vectors of real mode, all of
// which lead to HANDLER, are at its beginning.
const VECTORS: u16 = 256;
const HANDLER: u16 = 0x500;
const CODE: u16 = 0x600;
const RESULT: u16 = 0x700;

const HLT: u8 = 0xf4;

#[rustfmt::skip]
const PROGRAM: [u8; 9] = [
    0xdb, 0xe3,             // fninit
    0xd9, 0xeb,             // fldpi
    0xdf, 0x1e, 0x00, 0x07, // fistp word [RESULT]
    HLT,
];

/// Exits that mean nothing, such as by a signal, before the trial is given up.
const PATIENCE: u32 = 16;

/// How the guest came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It executed HLT at `at`, with `result` in its memory.
    Halted { at: u64, result: u16 },
    /// KVM gave up emulating.
    EmulationFailed,
    /// Any other exit.
    Other,
}

/// What the trial brings to light.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) ending: Ending,
    /// Frequency of the guest's time stamp counter in kHz, if the kernel knows.
    pub(crate) tsc_khz: Option<u32>,
}

/// What an ending says of the hardware.
pub(crate) fn judge(ending: Ending) -> Result<(), NoKvm> {
    let behind = |address: u16, length: usize| u64::from(address) + length as u64;
    let sign = match ending {
        Ending::Halted { at, .. } if at == behind(HANDLER, 1) => Sign::Exception,
        Ending::Halted { at, .. } if at != behind(CODE, PROGRAM.len()) => Sign::Exit,
        Ending::Halted { result: 3, .. } => return Ok(()),
        Ending::Halted { result, .. } => Sign::WrongResult { found: result },
        Ending::EmulationFailed => Sign::Emulated,
        Ending::Other => Sign::Exit,
    };
    Err(NoKvm::NoHardware { sign })
}

/// Runs the guest in `vm`, a new machine, and ends it.
///
/// No KVM_SET_TSS_ADDR, which costs a grace period of the kernel: real mode
/// needs it on Intel processors from before 2010 alone, and on those the trial
/// fails.
pub(crate) fn run(vm: VmFd) -> Result<Trial, NoKvm> {
    let memory = Memory::new();
    // SAFETY: the region is the whole of `memory`, which nothing else borrows
    // and which outlives the machine: that one is dropped below, with its only
    // processor dropped before.
    let trial = unsafe { vm.set_user_memory_region(memory.region()) }
        .map_err(NoKvm::step("take guest memory"))
        .and_then(|()| on_processor(&vm, &memory));
    drop(vm);
    trial
}

fn on_processor(vm: &VmFd, memory: &Memory) -> Result<Trial, NoKvm> {
    let mut vcpu = vm
        .create_vcpu(0)
        .map_err(NoKvm::step("create a processor"))?;
    Ok(Trial {
        ending: execute(&mut vcpu, memory)?,
        tsc_khz: vcpu.get_tsc_khz().ok().filter(|khz| *khz > 0),
    })
}

fn execute(vcpu: &mut VcpuFd, memory: &Memory) -> Result<Ending, NoKvm> {
    set_up(vcpu).map_err(NoKvm::step("set registers"))?;
    for _ in 0..PATIENCE {
        match vcpu.run() {
            Ok(VcpuExit::Hlt) => {
                let registers = vcpu.get_regs().map_err(NoKvm::step("read registers"))?;
                return Ok(Ending::Halted {
                    at: registers.rip,
                    result: memory.read(RESULT),
                });
            }
            Ok(VcpuExit::InternalError) => return Ok(Ending::EmulationFailed),
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => {}
            Ok(_) => return Ok(Ending::Other),
            Err(error) if is_interruption(error) => {}
            Err(error) => return Err(NoKvm::step("run a guest")(error)),
        }
    }
    Ok(Ending::Other)
}

fn is_interruption(error: kvm_ioctls::Error) -> bool {
    const EINTR: i32 = 4;
    const EAGAIN: i32 = 11;
    matches!(error.errno(), EINTR | EAGAIN)
}

/// Real mode as after a reset, except for where the program is.
fn set_up(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let mut segments = vcpu.get_sregs()?;
    segments.cs.selector = 0;
    segments.cs.base = 0;
    vcpu.set_sregs(&segments)?;
    let mut registers = vcpu.get_regs()?;
    registers.rip = u64::from(CODE);
    registers.rsp = PAGE as u64;
    // Bit 1 is always set; interrupts are off.
    registers.rflags = 2;
    vcpu.set_regs(&registers)
}

/// The guest's memory. The guest writes to it behind the compiler's back.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

struct Memory(Box<Page>);

impl Memory {
    fn new() -> Self {
        let mut bytes = [0; PAGE];
        let mut put = |at: u16, these: &[u8]| {
            let at = usize::from(at);
            bytes[at..at + these.len()].copy_from_slice(these);
        };
        for vector in 0..VECTORS {
            // Offset, then segment 0.
            put(vector * 4, &HANDLER.to_le_bytes());
        }
        put(HANDLER, &[HLT]);
        put(CODE, &PROGRAM);
        Self(Box::new(Page(UnsafeCell::new(bytes))))
    }

    /// The page at guest address 0.
    fn region(&self) -> kvm_userspace_memory_region {
        kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: PAGE as u64,
            userspace_addr: self.0.0.get() as u64,
        }
    }

    fn read(&self, at: u16) -> u16 {
        let start = usize::from(at);
        // SAFETY: the page is alive, and the processor that writes to it is not
        // running while this thread is here.
        let bytes = unsafe { self.0.0.get().read_volatile() };
        u16::from_le_bytes([bytes[start], bytes[start + 1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(ending: Ending) -> Option<Sign> {
        match judge(ending) {
            Err(NoKvm::NoHardware { sign }) => Some(sign),
            _ => None,
        }
    }

    #[test]
    fn hardware_halts_behind_the_program_with_a_three() {
        let at = u64::from(CODE) + 9;
        assert_eq!(sign(Ending::Halted { at, result: 3 }), None);
        let wrong = Some(Sign::WrongResult { found: 0 });
        assert_eq!(sign(Ending::Halted { at, result: 0 }), wrong);
    }

    #[test]
    fn everything_else_is_no_hardware() {
        let handler = u64::from(HANDLER) + 1;
        let exception = Ending::Halted {
            at: handler,
            result: 3,
        };
        assert_eq!(sign(exception), Some(Sign::Exception));
        assert_eq!(sign(Ending::EmulationFailed), Some(Sign::Emulated));
        assert_eq!(sign(Ending::Other), Some(Sign::Exit));
        assert_eq!(sign(Ending::Halted { at: 0, result: 3 }), Some(Sign::Exit));
    }

    #[test]
    fn the_program_stores_where_the_result_is_read() {
        assert_eq!(PROGRAM[6..8], RESULT.to_le_bytes());
    }

    #[test]
    fn every_vector_leads_to_the_handler() {
        let memory = Memory::new();
        for vector in 0..VECTORS {
            assert_eq!(memory.read(vector * 4), HANDLER);
            assert_eq!(memory.read(vector * 4 + 2), 0);
        }
    }
}
