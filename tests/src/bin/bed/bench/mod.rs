//! `bed bench`: where the time of a pod's start goes, and how far it is from
//! the least it could be; or what its network carries.
//!
//! Three things take turns, so that a busy moment of the host hits all alike:
//! the floor (kernel and initramfs in the same QEMU, nothing else), a pod of
//! ours, and the same pod under runc, which is what containerd and the network
//! plugins take by themselves.

mod figures;
mod floor;
mod network;
mod picture;
mod plain;
mod start;
mod steady;

use std::process::ExitCode;

use anyhow::{Context, Result};
use e2e::bed::{Bed, Handler, Version};

use crate::steps::step;
use crate::up::in_bed;
use figures::{Figures, Report};
use floor::Floor;
use start::{START, Start};

/// Measure starts of pods, or their network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which containerd.
    #[arg(long = "version", value_enum, default_value = "2")]
    containerd: Version,

    /// How many starts, or rounds of traffic, of each kind.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// Measure the network of pods instead.
    #[arg(long, conflicts_with = "picture")]
    network: bool,

    /// Draw the timeline of the median start into this SVG file.
    #[arg(long)]
    picture: Option<std::path::PathBuf>,
}

pub(crate) fn bench(args: &Args) -> Result<ExitCode> {
    in_bed(args.containerd, async |bed| match args.network {
        true => network::measure(bed, args.runs).await,
        false => measure(bed, args).await,
    })
}

async fn measure(bed: &Bed, args: &Args) -> Result<()> {
    // What is read from the disk for the first time is no figure.
    let (floor, memory) = step("warm up", warm_up(bed)).await?;
    let (mut floors, mut ours, mut runc) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=args.runs {
        let round = async {
            floors.push(floor.boot(bed).await?);
            ours.push(Start::measure(bed, Handler::KataMshv).await?);
            runc.push(Start::measure(bed, Handler::Runc).await?);
            Ok(())
        };
        step(&format!("round {run} of {}", args.runs), round).await?;
    }
    let floor = Figures::of(floors);
    let report = Report {
        title: format!("{}, {} starts of each kind", bed.version, args.runs),
        floor: floor.clone(),
        ours: start::by_span(&ours),
        runc: start::by_span(&runc),
        memory,
    };
    println!("\n{report}");
    if let (Some(path), Some(start)) = (&args.picture, median_start(ours)) {
        let svg = picture::draw(&start.spans, floor.median);
        std::fs::write(path, svg).with_context(|| format!("write {}", path.display()))?;
        println!("drawn: {}", path.display());
    }
    Ok(())
}

/// A pod of each kind; the floor's QEMU is the one that ours has.
async fn warm_up(bed: &Bed) -> Result<(Floor, Vec<steady::Memory>)> {
    let pod = start::run(bed, Handler::KataMshv).await?;
    let record = pod.record()?;
    let floor = Floor::like(record.pids.vmm, bed.product())?;
    let memory = steady::memory(&record.pids)?;
    pod.remove().await?;
    start::run(bed, Handler::Runc).await?.remove().await?;
    floor.boot(bed).await?;
    Ok((floor, memory))
}

/// The start whose whole is the median.
fn median_start(mut starts: Vec<Start>) -> Option<Start> {
    starts.sort_by_key(|start| start.length(START));
    let middle = starts.len() / 2;
    starts.into_iter().nth(middle)
}
