//! Streaming into containers: exec, attach and port-forward.
//!
//! The RPC answers with the URL of a one-time session on the runtime's
//! streaming server. It is dialed on the network of the runtime's host and
//! upgraded to SPDY/3.1; each standard stream, the terminal's size and the
//! result are streams of that connection (`v4.channel.k8s.io`).

mod error;
mod exec;
mod port_forward;
mod status;
mod upgrade;

pub use super::spdy::{Closed, Reader, Writer};
pub use error::StreamError;
pub use exec::{Output, Resizer, Session, Stdio, TerminalSize};
pub use port_forward::Forward;
