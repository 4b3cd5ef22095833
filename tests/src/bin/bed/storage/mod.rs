//! `bed storage`: how fast files are, on the root file system, in an emptyDir and
//! on a block volume.
//!
//! The same program (`trial speed`) runs in the same container under runc, under
//! ours, and under ours with upstream's `virtiofsd` in the place of our file
//! server. They take turns, so that a busy moment of the host hits all alike.

mod figures;
mod virtiofsd;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ctl::cri::v1::MountPropagation::PropagationPrivate;
use e2e::bed::{Bed, Handler, Version};
use e2e::images::TRIALS;
use e2e::kubelet::PodFolder;
use e2e::loop_device::LoopDevice;
use e2e::pod::{container, pod};

use crate::steps::step;
use crate::up::in_bed;
use figures::Table;

/// Measure files in containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which containerd.
    #[arg(long = "version", value_enum, default_value = "2")]
    containerd: Version,

    /// How many rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Upstream's server, to compare ours with.
    #[arg(long)]
    virtiofsd: Option<PathBuf>,
}

/// What serves the container's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server<'a> {
    Runc,
    Ours,
    Virtiofsd(&'a Path),
}

impl Server<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Ours => "ours",
            Self::Virtiofsd(_) => "virtiofsd",
        }
    }
}

/// Longer than one container's measurements take.
const LIMIT: Duration = Duration::from_secs(1200);

/// Figures of each place, under names that begin with it.
const SCRIPT: &str = "set -e; mkdir /root/speed; \
    trial speed /root/speed | sed 's/^/rootfs /'; \
    trial speed /disk | sed 's/^/emptyDir /'; \
    trial device-speed /dev/volume | sed 's/^/block /'";

pub(crate) fn storage(args: &Args) -> Result<ExitCode> {
    in_bed(args.containerd, async |bed| measure(bed, args).await)
}

async fn measure(bed: &Bed, args: &Args) -> Result<()> {
    let theirs = args.virtiofsd.as_deref().map(Server::Virtiofsd);
    let servers: Vec<_> = [Server::Runc, Server::Ours]
        .into_iter()
        .chain(theirs)
        .collect();
    let mut table = Table::of(servers.iter().map(|server| server.name()));
    for run in 1..=args.runs {
        for (column, server) in servers.iter().enumerate() {
            let what = format!("round {run} of {}, {}", args.runs, server.name());
            let said = step(&what, once(bed, *server)).await?;
            table.add(column, &said);
        }
    }
    println!(
        "\n{}, {} rounds, medians:\n\n{table}",
        bed.version, args.runs
    );
    Ok(())
}

/// What the program says in a container whose files `server` serves.
async fn once(bed: &Bed, server: Server<'_>) -> Result<String> {
    let _changed = match server {
        Server::Virtiofsd(program) => {
            let path = virtiofsd::stand_in(bed, program)?;
            Some(bed.configure("devices.fs", path)?)
        }
        Server::Runc | Server::Ours => None,
    };
    let handler = match server {
        Server::Runc => Handler::Runc,
        Server::Ours | Server::Virtiofsd(_) => Handler::KataMshv,
    };
    let folder = PodFolder::make(bed, "measured")?;
    let disk = folder.volume("empty-dir", "disk")?;
    let device = LoopDevice::new(256)?;
    let pod = pod("measured").handler(handler).run(bed).await?;
    let main = container("main", &["sh", "-c", SCRIPT])
        .image(TRIALS)
        .mount(&disk, "/disk", PropagationPrivate, false)
        .device(device.device(), "/dev/volume", "mrw")
        .start(&pod)
        .await?;
    let code = main.exit_code(LIMIT).await?;
    let logs = main
        .logs_when(|logs| logs.stdout.contains("block write-4k-synced"))
        .await?;
    ensure!(code == 0, "it ended with {code}: {logs:?}");
    pod.remove().await?;
    Ok(logs.stdout)
}
