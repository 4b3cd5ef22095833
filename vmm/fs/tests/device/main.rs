//! The device process, from outside: by a virtual machine that uses it, by a
//! front end that misuses it, and by what the kernel says of it.
//!
//! Needs root; `guest` needs QEMU and a guest kernel too:
//! `KATA_MSHV_TEST_KERNEL`, or `target/guest/vmlinux` of the workspace.

mod archive;
mod confinement;
mod front_end;
mod fuse;
mod guest;
mod hostile;
mod machine;
mod process;
mod relief;
mod share;
