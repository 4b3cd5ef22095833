//! Which calls, and why.
//!
//! Nothing here opens, makes or names anything outside the process: every
//! descriptor was there before the guest ran, or is a copy of such a one. A
//! device that needs another call adds it with its reason.

use nix::sys::signal::Signal;

/// When a call is allowed. Arguments count from 0.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// With any arguments.
    Always,
    /// If an argument is one of these.
    If {
        /// Which.
        argument: u8,
        /// What it may be.
        values: &'static [u64],
    },
    /// If an argument has none of these bits.
    Without {
        /// Which.
        argument: u8,
        /// What it must not have.
        bits: u64,
    },
    /// tgkill(2) of a thread of this process with one of these.
    ToThreadOfOurs {
        /// Which signals.
        signals: &'static [u64],
    },
}

/// A call by its number.
pub(super) type Call = (libc::c_long, Allowed);

/// `KVM_RUN` of linux/kvm.h: `_IO(KVMIO, 0x80)`.
const KVM_RUN: u64 = 0xae80;

/// `_IOW(KVMIO, 0x76, struct kvm_irqfd)`.
const KVM_IRQFD: u64 = 0x4020_ae76;
/// `_IOW(KVMIO, 0x79, struct kvm_ioeventfd)`.
const KVM_IOEVENTFD: u64 = 0x4040_ae79;

/// `_IOW(KVMIO, 0x46, struct kvm_userspace_memory_region)`.
const KVM_MEMORY: u64 = 0x4020_ae46;

/// `VHOST_NET_SET_BACKEND` of linux/vhost.h: `_IOW(0xaf, 0x30, struct
/// vhost_vring_file)`.
const VHOST_TAP: u64 = 0x4008_af30;

/// Of linux/vhost.h: whose it is, features, memory; size, addresses, position,
/// kick, call and error of a queue. Not the log of written pages.
const VHOST: &[u64] = &[
    0xaf01,
    0x8008_af00,
    0x4008_af00,
    0x4008_af03,
    0x4008_af10,
    0x4028_af11,
    0x4008_af12,
    0x4008_af20,
    0x4008_af21,
    0x4008_af22,
];

/// Of linux/fs.h: size, logical and physical blocks, advice on transfers,
/// alignment, write protection; discard.
const BLOCK_DEVICE: &[u64] = &[
    0x8008_1272,
    0x1268,
    0x127b,
    0x1278,
    0x1279,
    0x127a,
    0x125e,
    0x1277,
];

/// Of linux/kvm.h: `_IO(KVMIO, 0x41)`, `_IOW(KVMIO, 0x90, struct kvm_cpuid2)`,
/// `_IOW(KVMIO, 0x89, struct kvm_msrs)`, and `_IOR(KVMIO, 0x8e, struct
/// kvm_lapic_state)`, `_IOW(KVMIO, 0x8f, struct kvm_lapic_state)`.
const MAKE_PROCESSOR: &[u64] = &[0xae41, 0x4008_ae90, 0x4008_ae89, 0x8400_ae8e, 0x4400_ae8f];

/// What pthread_create(3) asks of clone(2): a thread, and nothing else.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID)
    .unsigned_abs() as u64;
const NAME: u64 = libc::PR_SET_NAME.unsigned_abs() as u64;
const NO_NEW_PRIVILEGES: u64 = libc::PR_SET_NO_NEW_PRIVS.unsigned_abs() as u64;
const ADD_FILTER: u64 = libc::SECCOMP_SET_MODE_FILTER as u64;

const FLAGS: u64 = libc::F_GETFL.unsigned_abs() as u64;
const SET_FLAGS: u64 = libc::F_SETFL.unsigned_abs() as u64;
const NO_PATH: u64 = libc::AT_EMPTY_PATH.unsigned_abs() as u64;
const DUPLICATE: u64 = libc::F_DUPFD_CLOEXEC.unsigned_abs() as u64;
const IS_OPEN: u64 = libc::F_GETFD.unsigned_abs() as u64;
const EXECUTABLE: u64 = libc::PROT_EXEC.unsigned_abs() as u64;
const ABORT: u64 = (Signal::SIGABRT as i32).unsigned_abs() as u64;
const LEAVE_GUEST: u64 = (Signal::SIGUSR1 as i32).unsigned_abs() as u64;

/// What any thread may have to do: a device is set up and reset on the thread
/// of the processor that asked for it, and served on the main one.
#[rustfmt::skip]
pub(super) const BOTH: &[Call] = &[
    // events, the console, standard error
    (libc::SYS_read, Allowed::Always),
    (libc::SYS_write, Allowed::Always),
    // taps
    (libc::SYS_readv, Allowed::Always),
    (libc::SYS_writev, Allowed::Always),
    // device processes; the shim
    (libc::SYS_sendmsg, Allowed::Always),
    (libc::SYS_recvmsg, Allowed::Always),
    // disks: work is begun on the main thread, and waited for where one is reset
    (libc::SYS_io_uring_enter, Allowed::Always),
    // what a device waits for; the copy that it is taken out of the set by
    (libc::SYS_epoll_ctl, Allowed::Always),
    // builds with debug assertions look before they close
    (libc::SYS_fcntl, Allowed::If { argument: 1, values: &[DUPLICATE, IS_OPEN] }),
    (libc::SYS_close, Allowed::Always),
    // the driver's choice of a tap's offloads and queues
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[libc::TUNSETOFFLOAD, libc::TUNSETQUEUE] }),
    // the tap that the host's kernel serves is taken away when a driver resets
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[VHOST_TAP] }),
    // the entropy device; keys of hash tables
    (libc::SYS_getrandom, Allowed::Always),
    // the allocator; never code
    (libc::SYS_brk, Allowed::Always),
    (libc::SYS_mmap, Allowed::Without { argument: 2, bits: EXECUTABLE }),
    (libc::SYS_mprotect, Allowed::Without { argument: 2, bits: EXECUTABLE }),
    (libc::SYS_mremap, Allowed::Always),
    (libc::SYS_munmap, Allowed::Always),
    (libc::SYS_madvise, Allowed::Always),
    // locks, and the gate that processors pass
    (libc::SYS_futex, Allowed::Always),
    (libc::SYS_sched_yield, Allowed::Always),
    // where the time is not in the vDSO
    (libc::SYS_clock_gettime, Allowed::Always),
    // a signal gets a processor out of the guest; abort(3)
    (libc::SYS_rt_sigprocmask, Allowed::Always),
    (libc::SYS_rt_sigreturn, Allowed::Always),
    (libc::SYS_restart_syscall, Allowed::Always),
    (libc::SYS_getpid, Allowed::Always),
    (libc::SYS_gettid, Allowed::Always),
    (libc::SYS_tgkill, Allowed::ToThreadOfOurs { signals: &[ABORT, LEAVE_GUEST] }),
    // the end of a thread or of the process: the stack that its signals had
    (libc::SYS_sigaltstack, Allowed::Always),
    (libc::SYS_exit_group, Allowed::Always),
];

/// What only the main thread does.
#[rustfmt::skip]
pub(super) const MAIN: &[Call] = &[
    // everything begins with an event
    (libc::SYS_epoll_wait, Allowed::Always),
    (libc::SYS_epoll_pwait, Allowed::Always),
    // the balloon: memory goes back to the host; disks without io_uring
    (libc::SYS_fallocate, Allowed::Always),
    (libc::SYS_preadv, Allowed::Always),
    (libc::SYS_pwritev2, Allowed::Always),
    (libc::SYS_fdatasync, Allowed::Always),
    // a disk or a tap that was sent to a machine that runs: what it is
    (libc::SYS_fcntl, Allowed::If { argument: 1, values: &[FLAGS, SET_FLAGS] }),
    (libc::SYS_fstat, Allowed::Always),
    (libc::SYS_newfstatat, Allowed::If { argument: 3, values: &[NO_PATH] }),
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: BLOCK_DEVICE }),
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[libc::TUNGETIFF, libc::TUNSETVNETHDRSZ] }),
    // who moves a tap's packets: the host's kernel, once a driver is ready
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: VHOST }),
    // its place: kicks and interrupts, which it is given and gives back
    (libc::SYS_eventfd2, Allowed::Always),
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[KVM_IRQFD, KVM_IOEVENTFD] }),
    // memory that comes and goes
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[KVM_MEMORY] }),
    // a processor more: KVM's part, and its thread
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: MAKE_PROCESSOR }),
    (libc::SYS_clone, Allowed::If { argument: 0, values: &[THREAD] }),
    // that thread has this filter too, below its own: its start, and what only
    // processors' threads do
    (libc::SYS_set_robust_list, Allowed::Always),
    (libc::SYS_rseq, Allowed::Always),
    (libc::SYS_sched_getaffinity, Allowed::Always),
    (libc::SYS_prctl, Allowed::If { argument: 0, values: &[NAME, NO_NEW_PRIVILEGES] }),
    (libc::SYS_seccomp, Allowed::If { argument: 0, values: &[ADD_FILTER] }),
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[KVM_RUN] }),
    (libc::SYS_exit, Allowed::Always),
];

/// What only processors' threads do.
#[rustfmt::skip]
pub(super) const VCPU: &[Call] = &[
    (libc::SYS_ioctl, Allowed::If { argument: 1, values: &[KVM_RUN] }),
    // the end of a thread
    (libc::SYS_exit, Allowed::Always),
];
