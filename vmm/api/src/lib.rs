//! A machine as plain data: what a driver is asked for, and what is written
//! down about a running one. No code that runs a machine lives here, so that
//! every part of the project can speak of machines.

mod machine;
mod record;

pub use machine::{MachineConfig, NetConfig};
pub use record::{Pids, SandboxRecord, Span};
