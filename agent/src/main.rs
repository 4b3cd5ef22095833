//! The only program of the guest. As PID 1 it prepares the guest, dials the
//! host and serves `protocol::agent_ttrpc::Agent` until the connection ends.
//! A copy of itself, forked off before that, makes the short-lived,
//! single-threaded helpers that build a container or enter one.
//!
//! ```text
//! rpc ── sandbox ── container ── process ── stdio (pumps, one vsock
//!            │          │           │              connection per stream)
//!            │          │           └── reaper (exit status of every child)
//!            │          ├── launch ──> nursery ──> helper (create, exec, hooks; libcontainer)
//!            │          └── cgroup, oom
//!            ├── network
//!            ├── disk
//!            ├── processors
//!            ├── memory
//!            ├── huge_pages
//!            ├── volumes
//!            └── events ──> host
//! ```

mod container;
mod descriptor;
mod disk;
mod error;
mod events;
mod guest;
mod helper;
mod helpers;
mod huge_pages;
mod init;
mod log;
mod memory;
mod network;
mod oom;
mod pod;
mod process;
mod processors;
mod reaper;
mod registry;
mod rpc;
mod sandbox;
mod signal;
mod stdio;
mod volumes;
mod vsock;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::run();
    }
    helper::nursery::main()
}
