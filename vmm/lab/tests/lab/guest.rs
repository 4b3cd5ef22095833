#![allow(unsafe_code)] // KVM is given memory by its address.

//! Guests of a few instructions, in real and in long mode.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const SIZE: usize = 1 << 20;
pub(crate) const CODE: u64 = 0x8000;

const TOP_TABLE: u64 = 0x1000;
const POINTERS: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;

// Control registers and page table bits (AMD64 manual volume 2, chapters 3
// and 5).
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;
const CR0_PROTECTED_PAGED: u64 = 1 << 31 | 1 << 5 | 0b11;
const CR4_PAE_SSE: u64 = 1 << 5 | 1 << 9 | 1 << 10;
const EFER_LONG: u64 = 1 << 8 | 1 << 10;

/// A machine of one processor. Fields are dropped in order: memory last.
pub(crate) struct Guest {
    pub(crate) vcpu: VcpuFd,
    pub(crate) vm: VmFd,
    pub(crate) memory: GuestMemoryMmap,
}

impl Guest {
    /// In real mode at `CODE`, with an interrupt controller if asked for.
    pub(crate) fn real_mode(program: &[u8], irqchip: bool) -> Self {
        let kvm = Kvm::new().unwrap();
        let vm = kvm.create_vm().unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: SIZE as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        };
        // SAFETY: the region is all of `memory`, which outlives the machine.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        if irqchip {
            vm.create_irq_chip().unwrap();
        }
        let vcpu = vm.create_vcpu(0).unwrap();
        let supported: CpuId = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        vcpu.set_cpuid2(&supported).unwrap();
        memory.write_slice(program, GuestAddress(CODE)).unwrap();
        let mut special = vcpu.get_sregs().unwrap();
        special.cs.base = 0;
        special.cs.selector = 0;
        vcpu.set_sregs(&special).unwrap();
        let mut registers = vcpu.get_regs().unwrap();
        registers.rip = CODE;
        registers.rsp = CODE;
        registers.rflags = 2;
        vcpu.set_regs(&registers).unwrap();
        Self { vcpu, vm, memory }
    }

    /// In long mode, with SSE, the lowest gigabyte mapped to itself.
    pub(crate) fn long_mode(program: &[u8]) -> Self {
        let guest = Self::real_mode(program, false);
        let put = |at, value: u64| guest.memory.write_obj(value, GuestAddress(at)).unwrap();
        put(TOP_TABLE, POINTERS | PRESENT_WRITABLE);
        put(POINTERS, DIRECTORY | PRESENT_WRITABLE);
        for index in 0..512 {
            put(
                DIRECTORY + index * 8,
                index << 21 | LARGE | PRESENT_WRITABLE,
            );
        }
        let mut special = guest.vcpu.get_sregs().unwrap();
        special.cr3 = TOP_TABLE;
        special.cr4 = CR4_PAE_SSE;
        special.cr0 = CR0_PROTECTED_PAGED;
        special.efer = EFER_LONG;
        special.cs = flat(8, 0b1011, true);
        for segment in [&mut special.ds, &mut special.es, &mut special.ss] {
            *segment = flat(16, 0b0011, false);
        }
        guest.vcpu.set_sregs(&special).unwrap();
        guest
    }
}

fn flat(selector: u16, kind: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        s: 1,
        g: 1,
        l: u8::from(code),
        db: u8::from(!code),
        ..Default::default()
    }
}
