//! The caller's side: the lab's machine.

mod archive;
mod console;
mod error;
mod lab;
mod machine;
mod process;
mod qemu;

pub use error::Error;
pub use lab::{Lab, Outcome};
pub use machine::{BootTime, Machine};
pub(crate) use qemu::PORT;
