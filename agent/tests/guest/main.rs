//! The agent as PID 1 of a real guest: QEMU, emulating, with the product's
//! vsock device and a client in the shim's place.
//!
//! Needs root, QEMU, a static busybox (`KATA_MSHV_TEST_BUSYBOX`, default
//! `/bin/busybox`) and a guest kernel (`KATA_MSHV_TEST_KERNEL`, default
//! `target/guest/vmlinux` of the workspace).
//! `kata-mshv-vsock` is built unless `KATA_MSHV_TEST_VSOCK` names one.
//! `KATA_MSHV_TEST_CONSOLE=1` prints each guest's console.

// A test's panic is its verdict.
#![allow(clippy::unwrap_used)]

mod archive;
mod device;
mod host;
mod machine;
mod pod;
mod spec;

mod confinement;
mod errors;
mod exec;
mod huge_pages;
mod isolation;
mod lifecycle;
mod mounts;
mod network;
mod nodes;
mod resources;
mod seccomp;
mod signals;
mod stdio;
mod terminal;
