//! A machine with a true `/dev/kvm`, on any host.
//!
//! QEMU emulates AMD's virtualization extensions (SVM with nested paging), so
//! that a Linux it boots has a KVM in which an unmodified Linux boots. The lab
//! is such a machine: a small kernel (`vmm/lab/kernel`), and in its memory the
//! calling program itself, as init, with the files that it needs.
//!
//! ```text
//!  caller ── requests, lines ──> virtio-serial port ──> init ── runs ──> programs
//!     │  <── events,   lines ──                          │
//!     └── lab::start ─ QEMU (TCG, microvm)               └── lab::enter
//! ```
//!
//! Two ways to use it:
//!
//! - [`Suite`] for tests: cases that run right here where `/dev/kvm` has
//!   hardware behind it, else in one lab for all of them.
//! - [`Lab`] for anything else: start it, run programs in it.
//!
//! Either way the calling program is the lab's init, so its `main` begins with
//! [`enter`] (which [`Suite::main`] calls by itself), and it has to be static.

mod cases;
mod guest;
mod host;
mod message;
mod program;
mod tail;

pub use cases::{Case, Suite, case, find, needed, path};
pub use guest::{SCRATCH, enter, inside};
pub use host::{BootTime, Error, Lab, Machine, Outcome};
pub use message::{Ending, Program};
