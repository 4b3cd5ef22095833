//! A machine as plain data: what a driver is asked for, what is said to the
//! built-in VMM that runs one, and what is written down about a running one. No
//! code that runs a machine lives here, so that every part of the project can
//! speak of machines.

mod control;
mod machine;
mod record;

pub use control::{
    Answer, CONTROL_FD, Descriptor, Event, MAX_DESCRIPTORS, MAX_MESSAGE, Message, Pluggable,
    Request, Stats, StopReason,
};
pub use machine::{DiskConfig, MachineConfig, NetConfig};
pub use record::{Pids, SandboxRecord, Span};
