//! Getting a processor's thread out of the guest.
//!
//! A signal ends KVM_RUN; one that comes just before would be lost, so its
//! handler also sets `immediate_exit`, with which KVM_RUN returns at once
//! (Documentation/virt/kvm/api.rst, struct kvm_run). The handler runs on the
//! very thread that it is for and finds the field by a thread-local pointer.

#![allow(unsafe_code)] // A signal handler, and KVM's shared page.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use kvm_ioctls::VcpuFd;
use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Nothing else in this process uses it.
pub(super) const SIGNAL: Signal = Signal::SIGUSR1;

thread_local! {
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

extern "C" fn leave_guest(_: c_int) {
    let field = IMMEDIATE_EXIT.get();
    if !field.is_null() {
        // SAFETY: `Kickable` keeps it pointing into a page that is mapped.
        // Volatile: KVM reads the page.
        unsafe { field.write_volatile(1) };
    }
}

/// Sets the handler, for all threads.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn install() -> Result<(), Errno> {
    // System calls other than KVM_RUN go on: a device process is being talked
    // to, maybe.
    let flags = SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::Handler(leave_guest), flags, SigSet::empty());
    // SAFETY: the handler writes to one byte of memory and does nothing else.
    unsafe { sigaction(SIGNAL, &action) }.map(drop)
}

/// While it is there, the signal gets this thread out of the processor.
pub(super) struct Kickable<'a> {
    vcpu: &'a mut VcpuFd,
    /// The pointer is this thread's own.
    _thread: PhantomData<*const ()>,
}

impl<'a> Kickable<'a> {
    pub(super) fn new(vcpu: &'a mut VcpuFd) -> Self {
        IMMEDIATE_EXIT.set(&raw mut vcpu.get_kvm_run().immediate_exit);
        Self {
            vcpu,
            _thread: PhantomData,
        }
    }

    /// The processor, to run.
    pub(super) fn vcpu(&mut self) -> &mut VcpuFd {
        self.vcpu
    }

    /// A kick has been noticed.
    pub(super) fn clear(&mut self) {
        self.vcpu.set_kvm_immediate_exit(0);
    }
}

impl Drop for Kickable<'_> {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}
