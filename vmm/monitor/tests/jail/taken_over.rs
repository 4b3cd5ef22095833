//! A thread that makes a call which is not its own: as one that a guest has
//! taken over would. ptrace(2) changes the number of the call that it is about
//! to make; the filter looks at it afterwards (seccomp(2), since Linux 4.8).

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Makes `thread` do the call `number` instead of its next one.
///
/// `stir` is called when the thread is traced, and gets it to make a call.
pub(crate) fn calls(thread: i32, number: libc::c_long, stir: impl FnOnce()) {
    let thread = Pid::from_raw(thread);
    ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD).unwrap();
    ptrace::interrupt(thread).unwrap();
    wait(thread);
    stir();
    to_the_next_stop_at_a_call(thread);
    let mut registers = ptrace::getregs(thread).unwrap();
    registers.orig_rax = number.cast_unsigned();
    (registers.rdi, registers.rsi, registers.rdx) = (1, 1, 0);
    ptrace::setregs(thread, registers).unwrap();
    // A forbidden call has this stop too, before the signal that it causes.
    to_the_next_stop_at_a_call(thread);
    ptrace::detach(thread, None).unwrap();
}

fn to_the_next_stop_at_a_call(thread: Pid) {
    loop {
        ptrace::syscall(thread, None).unwrap();
        if matches!(wait(thread), WaitStatus::PtraceSyscall(_)) {
            return;
        }
    }
}

fn wait(thread: Pid) -> WaitStatus {
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap()
}
