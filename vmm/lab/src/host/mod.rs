//! The caller's side: the lab's machine.

mod archive;
mod error;
mod lab;
mod machine;
mod qemu;
mod tsc;

pub use error::Error;
pub use lab::{Lab, Outcome};
pub use machine::Machine;
pub(crate) use qemu::PORT;
