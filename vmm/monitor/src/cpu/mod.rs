//! The guest's processors.

mod cpuid;
mod gate;
mod kick;
mod processors;
mod registers;
mod thread;
mod vcpu;

pub use cpuid::Template;
pub use gate::{Gate, Wanted};
pub use processors::{Mould, Processors, ResizeError};
pub use thread::{Surroundings, Thread, ThreadError};
pub use vcpu::{Vcpu, VcpuError};
