//! The machine, phase by phase: each phase is a type, and each is made from
//! the one before.
//!
//! ```text
//! MachineConfig ─ check ─> Setup ─ build ─> Built ─ run ─> Running
//!   (what the              (checked, with    (KVM has       (threads;
//!    shim sent)             open files)       everything)    pause, resume)
//! ```

mod built;
mod growth;
mod plug;
mod running;
mod setup;
mod state;

pub use built::{BuildError, Built};
pub use growth::{AmountError, BalloonError};
pub use plug::PlugError;
pub use running::{RunError, Running};
pub use setup::{Setup, SetupError};
pub use state::{State, StateError};
