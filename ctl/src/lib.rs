//! The library behind `kata-mshv`, the command an operator types.
//!
//! - [`cri`] is a thin typed client of the Container Runtime Interface over a
//!   UNIX socket. Tests use the same client.
//! - [`manifest`] reads Pod manifests and translates them for the runtime.
//! - [`pods`] starts pods from manifests, watches and removes them.
//! - [`logs`] reads the log files of containers.
//! - [`host`] finds out what this host has for pods in VMs.
//! - [`state`] reads what shims write down about their VMs.
//! - [`verbs`] has one module per verb.

pub mod cri;
pub mod duration;
pub mod host;
pub mod logs;
pub mod manifest;
pub mod pods;
pub mod state;
pub mod table;
pub mod terminal;
pub mod verbs;
