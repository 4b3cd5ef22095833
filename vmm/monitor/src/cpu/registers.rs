//! Registers of a processor at its start.
//!
//! The first one starts as Linux's 64-bit boot protocol wants it, the others
//! as a reset leaves them: they wait for the kernel's start-up message.

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::vcpu::VcpuError;
use crate::boot::{BOOT_SEGMENTS, Segment};
use crate::memory::layout::{BOOT_GDT, BOOT_PAGE_TABLES, ZERO_PAGE};

// Bits of the control registers (Intel SDM vol. 3A, section 2.5).
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Always set.
const RFLAGS: u64 = 2;

/// Fast string operations on, which firmware does.
const IA32_MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// All memory is cached unless page tables say otherwise: enabled, write-back.
const IA32_MTRR_DEF_TYPE: (u32, u64) = (0x2ff, 1 << 11 | 6);

/// What every processor has from its start.
pub(super) fn set_msrs(vcpu: &VcpuFd) -> Result<(), VcpuError> {
    let entries = [IA32_MISC_ENABLE, IA32_MTRR_DEF_TYPE].map(|(index, data)| kvm_msr_entry {
        index,
        data,
        ..kvm_msr_entry::default()
    });
    let msrs = Msrs::from_entries(&entries).map_err(VcpuError::List)?;
    // How many were set is not looked at: an AMD processor may lack the first.
    vcpu.set_msrs(&msrs)
        .map(drop)
        .map_err(VcpuError::step("set model specific registers of"))
}

/// The first processor is to start at `entry`.
pub(super) fn set_boot(vcpu: &VcpuFd, entry: u64) -> Result<(), VcpuError> {
    let mut segments = vcpu
        .get_sregs()
        .map_err(VcpuError::step("read segments of"))?;
    enter_long_mode(&mut segments);
    vcpu.set_sregs(&segments)
        .map_err(VcpuError::step("set segments of"))?;
    let registers = kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE.0,
        rflags: RFLAGS,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&registers)
        .map_err(VcpuError::step("set registers of"))
}

fn enter_long_mode(sregs: &mut kvm_sregs) {
    let [code, data, task] = BOOT_SEGMENTS.map(loaded);
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = task;
    sregs.gdt.base = BOOT_GDT.0;
    // Up to the first half of the last segment.
    sregs.gdt.limit = task.selector + 7;
    sregs.idt.limit = 0;
    sregs.cr3 = BOOT_PAGE_TABLES.0;
    sregs.cr4 = CR4_PAE;
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.efer = EFER_LME | EFER_LMA;
}

/// The segment as a processor that has loaded its descriptor.
fn loaded(segment: Segment) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: segment.selector,
        type_: segment.kind,
        present: 1,
        dpl: 0,
        db: u8::from(segment.is_code_or_data && !segment.is_long),
        s: u8::from(segment.is_code_or_data),
        l: u8::from(segment.is_long),
        g: 1,
        ..kvm_segment::default()
    }
}
