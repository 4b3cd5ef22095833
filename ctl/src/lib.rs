//! The library behind `kata-mshv`, the command an operator types.
//!
//! - [`cri`] is a thin typed client of the Container Runtime Interface over a
//!   UNIX socket. Tests use the same client.
//! - [`manifest`] reads Pod manifests and translates them for the runtime.

pub mod cri;
pub mod manifest;
