//! The built-in virtual machine monitor: one process per machine, over KVM.
//!
//! From the shim inwards, each layer knows only those below it:
//!
//! | module | what it does |
//! |---|---|
//! | [`jail`] | what the process gives up before it starts |
//! | [`control`] | the process: takes the shim's requests until the machine is over |
//! | [`machine`] | the machine, phase by phase |
//! | [`boot`] | what the first processor finds |
//! | [`cpu`] | processors: features, registers, threads |
//! | [`exits`] | what processors leave the guest for |
//! | [`ports`] | serial port, reset, exit |
//! | [`virtio`] | the transport, and the devices behind it |
//! | [`memory`] | RAM |
//!
//! Beside them, [`events`] is what the main thread waits for, [`over`] how any
//! thread ends the machine, and [`complaints`] the warnings a guest can cause.
//!
//! There is one thread per processor and the main one, which serves the shim
//! and the devices of this process. The guest is hostile: what comes from it
//! never panics, never waits for it, never takes memory without bound.

pub mod boot;
pub mod complaints;
pub mod control;
pub mod cpu;
pub mod error;
pub mod events;
pub mod exits;
pub mod jail;
pub mod machine;
pub mod memory;
pub mod over;
pub mod ports;
pub mod virtio;
