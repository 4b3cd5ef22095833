//! The guest's physical memory.

pub mod layout;
pub mod ram;
pub mod release;
