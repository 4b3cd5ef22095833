//! SPDY/3.1, the part of it that a client of containerd's streaming server
//! needs.
//!
//! Of the protocols that the server speaks this is the one in which each stream
//! can be half-closed: a command that reads its standard input to the end needs
//! that, and the WebSocket protocol `v4.channel.k8s.io` has no message for it.

mod connection;
mod frame;
mod header;
mod inbox;

pub(super) use connection::Opener;
pub use connection::{Closed, Reader, Writer};
