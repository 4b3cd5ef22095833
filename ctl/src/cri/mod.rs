//! A client of the Container Runtime Interface (CRI v1), the API through which
//! kubelet drives containerd.
//!
//! ```text
//! Client ── gRPC over a UNIX socket ──────────── runtime and image service
//!    └── exec, attach, port_forward: the RPC answers with a URL, then
//!        stream ── SPDY/3.1 over HTTP upgrade ── containerd's streaming server
//! ```
//!
//! The messages are those of `k8s-cri`, re-exported as [`v1`]; the methods of
//! [`Client`] take the fields that matter and name the object in their errors.

mod client;
mod container;
mod error;
mod image;
mod sandbox;
mod spdy;
pub mod stream;

pub use client::{Client, DEFAULT_ENDPOINT};
pub use error::{CriError, RpcStatus};
pub use k8s_cri::v1;
