//! The shim's side of the process: its socket, and what it asks for.

mod server;
mod socket;

pub use server::{ServeError, serve};
pub use socket::{Control, ControlError, Received};
