//! `containerd-shim-kata-mshv-vm-isolation-v2`: gives each pod a VM of its own.
//!
//! containerd runs this program three ways:
//!
//! ```text
//! … start    starts a server for a pod, or finds the pod's; prints its address
//! …          is that server: one per pod, owns the pod's VM (`serve`)
//! … delete   cleans up after a server that died
//! ```
//!
//! In the server, requests flow one way:
//!
//! ```text
//! containerd ─▶ containerd::*_service ─▶ pod ─▶ sandbox ─▶ machine, devices,
//!          ◀─ containerd::events ◀────────┘          │      network, share
//!                                                    └────▶ agent, stdio
//! ```

mod agent;
mod containerd;
mod delete;
mod devices;
mod etc;
mod failure;
mod host_cgroup;
mod huge_pages;
mod ids;
mod info;
mod jail;
mod log;
mod machine;
mod mountinfo;
mod network;
mod oom_score;
mod pod;
mod process;
mod role;
mod sandbox;
mod serve;
mod share;
mod sizing;
mod spec;
mod start;
mod stdio;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use containerd_shim::Flags;

fn main() -> ExitCode {
    let began = Instant::now();
    match run(began) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd quotes this in its error.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(began: Instant) -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let flags: Flags = containerd_shim::parse(&args).context("read the command line")?;
    if flags.version {
        println!("{} {}", env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if flags.info {
        return info::tell();
    }
    match flags.action.as_str() {
        "start" => start::start(&flags),
        "delete" => delete::delete(&flags),
        "" => serve::serve(&flags, began),
        other => anyhow::bail!("unknown action {other:?}: start, delete, or none to serve"),
    }
}
