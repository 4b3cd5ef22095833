//! The VMM's process seen from outside, while a guest runs that does nothing:
//! what it holds, what it sees, and what becomes of it when it asks for more.
//! Any `/dev/kvm` will do, one without hardware behind it too; without one
//! there is no machine, and nothing to see.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // A panic is the verdict.

mod idle;
mod machine;
mod taken_over;
mod tests;
