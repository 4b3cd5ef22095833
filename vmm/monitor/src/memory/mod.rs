//! The guest's physical memory.

pub mod layout;
mod mapping;
pub mod ram;
pub mod release;
