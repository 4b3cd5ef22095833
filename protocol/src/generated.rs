//! What the build script made of `proto/agent.proto`.

#![allow(warnings, clippy::all, clippy::restriction, clippy::pedantic)]

/// Messages.
pub mod agent {
    include!(concat!(env!("OUT_DIR"), "/agent.rs"));
}

/// The service: client and server.
pub mod agent_ttrpc {
    include!(concat!(env!("OUT_DIR"), "/agent_ttrpc.rs"));
}
