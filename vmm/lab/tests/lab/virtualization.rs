//! KVM in the lab is one with hardware behind it, as far as a guest can tell.

use std::sync::mpsc::channel;
use std::time::Duration;

use kvm_ioctls::VcpuExit;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use crate::guest::Guest;

pub(crate) fn kvm_is_usable() {
    let report = probe::kvm().unwrap();
    assert!(
        report.tsc_khz.is_some_and(|khz| khz > 100_000),
        "{report:?}"
    );
    assert!(report.max_vcpus >= 64, "{report:?}");
}

const ROOT: u64 = 0x5000;
const PAIR: u64 = 0x5010;

/// KVM's instruction emulator knows neither SSE's arithmetic nor CMPXCHG16B.
#[rustfmt::skip]
const COMPUTE: &[u8] = &[
    0xb8, 2, 0, 0, 0,                                           // mov eax, 2
    0xf2, 0x0f, 0x2a, 0xc0,                                     // cvtsi2sd xmm0, eax
    0xf2, 0x0f, 0x51, 0xc0,                                     // sqrtsd xmm0, xmm0
    0xf2, 0x0f, 0x11, 0x04, 0x25, 0x00, 0x50, 0, 0,             // movsd [ROOT], xmm0
    0x31, 0xc0,                                                 // xor eax, eax
    0x31, 0xd2,                                                 // xor edx, edx
    0xbb, 7, 0, 0, 0,                                           // mov ebx, 7
    0xb9, 9, 0, 0, 0,                                           // mov ecx, 9
    0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x10, 0x50, 0, 0,       // lock cmpxchg16b [PAIR]
    0x0f, 0x94, 0xc0,                                           // sete al
    0xe6, 0x10,                                                 // out 0x10, al
    0xf4,                                                       // hlt
];

pub(crate) fn long_mode_computes() {
    let mut guest = Guest::long_mode(COMPUTE);
    match guest.vcpu.run().unwrap() {
        VcpuExit::IoOut(0x10, [1]) => {}
        other => panic!("{other:?}"),
    }
    let read = |at| guest.memory.read_obj::<u64>(GuestAddress(at)).unwrap();
    assert_eq!(f64::from_bits(read(ROOT)), 2f64.sqrt());
    assert_eq!((read(PAIR), read(PAIR + 8)), (7, 9));
    assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::Hlt));
}

/// An undefined instruction, with no table of handlers to go to.
pub(crate) fn a_guest_fault_is_a_shutdown() {
    let mut guest = Guest::long_mode(&[0x0f, 0x0b]);
    assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::Shutdown));
}

const LINE: u32 = 4;

/// Waits for interrupts; the handler, at the address behind, writes to a port.
/// The interrupt controller, as KVM makes it, delivers line 4 as vector 4.
#[rustfmt::skip]
const WAIT: &[u8] = &[
    0xfb,                   // sti
    0xf4,                   // hlt
    0xeb, 0xfc,             // jmp to the sti
    0xb0, 0x2a,             // mov al, 42
    0xe6, 0x11,             // out 0x11, al
    0xcf,                   // iret
];
const HANDLER: u16 = 0x8004;

pub(crate) fn irqfd_interrupts_a_halted_guest() {
    let mut guest = Guest::real_mode(WAIT, true);
    let vector = GuestAddress(u64::from(LINE) * 4);
    guest.memory.write_obj(HANDLER, vector).unwrap();
    let interrupt = EventFd::new(0).unwrap();
    guest.vm.register_irqfd(&interrupt, LINE).unwrap();
    let (sender, interrupted) = channel();
    std::thread::spawn(move || {
        match guest.vcpu.run().unwrap() {
            VcpuExit::IoOut(0x11, [42]) => sender.send(()).unwrap(),
            other => panic!("{other:?}"),
        };
    });
    // Halted in the kernel: nothing comes out of it by itself.
    interrupted
        .recv_timeout(Duration::from_millis(200))
        .unwrap_err();
    interrupt.write(1).unwrap();
    interrupted.recv_timeout(Duration::from_secs(10)).unwrap();
}
