//! The contract between the shim on the host and the agent in its guest: the
//! RPC service, who dials whom, what a valid id is, and the closed set of
//! error codes.
//!
//! Nothing here depends on another crate of the project.

mod code;
mod generated;
mod id;
pub mod paths;
pub mod ports;
mod token;

pub use code::{Code, Failure};
pub use generated::{agent, agent_ttrpc};
pub use id::{Id, InvalidId};
pub use token::Token;

/// Version of the service in `proto/agent.proto`. Shim and agent refuse each
/// other when theirs differ: they are installed together, so a difference
/// means an installation that is half upgraded.
pub const PROTOCOL_VERSION: u32 = 1;
