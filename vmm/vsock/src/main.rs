//! `kata-mshv-vsock`: the virtio-vsock device of one VM.

use anyhow::Context;
use clap::Parser;
use std::os::fd::RawFd;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use vsock_device::inherited;
use vsock_device::jail::Jail;
use vsock_device::server::{self, Service};

/// virtio-vsock as a vhost-user device process. Ends when the VMM disconnects
/// or the handover socket is closed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Descriptor of a listening UNIX socket for the VMM
    #[arg(long, value_name = "FD")]
    listen_fd: RawFd,
    /// Descriptor of a SOCK_SEQPACKET socket on which connections are handed over
    #[arg(long, value_name = "FD")]
    handover_fd: RawFd,
    /// Context id of the guest
    #[arg(long, value_name = "CID", value_parser = clap::value_parser!(u32).range(3..0xffff_ffff))]
    guest_cid: u32,
    /// Port of the host that the guest may dial; may be given more than once
    #[arg(long = "port", value_name = "PORT", required = true)]
    ports: Vec<u32>,
    /// User to become when started as root
    #[arg(long, default_value_t = 65534)]
    uid: u32,
    /// Group to become when started as root
    #[arg(long, default_value_t = 65534)]
    gid: u32,
    /// What to write to standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: LevelFilter,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .compact()
        .with_max_level(arguments.log_level)
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.listen_fd != arguments.handover_fd,
        "--listen-fd and --handover-fd name the same descriptor {}",
        arguments.listen_fd,
    );
    let service = Service {
        listener: inherited::listener(arguments.listen_fd).context("--listen-fd")?,
        handover: inherited::message_socket(arguments.handover_fd).context("--handover-fd")?,
        guest_cid: arguments.guest_cid,
        ports: arguments.ports.clone(),
    };
    let jail = Jail {
        uid: arguments.uid,
        gid: arguments.gid,
    };
    jail.enter()?;
    Ok(server::run(service)?)
}
