//! What is measured, and of whom.

use std::path::PathBuf;
use std::time::Duration;

use crate::figures::{self, Column, milliseconds};
use crate::huge_pages::HugePages;
use crate::peers::Peer;
use crate::{ours, peers, tiny};

/// Rounds that count; one before them pays for the translation of code in an
/// emulated lab.
const ROUNDS: usize = 10;

type Body = fn() -> anyhow::Result<()>;

/// Name, seconds it may take, body.
pub(crate) const ALL: &[(&str, u64, Body)] = &[
    ("a_tiny_guest", 200, a_tiny_guest),
    ("linux_in_256_mib", 550, || linux(256)),
    ("linux_in_2048_mib", 550, || linux(2048)),
    ("with_huge_pages_linux_in_256_mib", 550, || {
        with_huge_pages(256)
    }),
    ("with_huge_pages_linux_in_2048_mib", 550, || {
        with_huge_pages(2048)
    }),
];

/// What a VMM is to run.
pub(crate) struct Images {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// How a boot to the agent's hello went.
pub(crate) struct Boot {
    /// From before anything of the machine was started.
    pub(crate) everything: Duration,
    /// From the exec of the VMM.
    pub(crate) hello: Duration,
    /// Of the VMM's process besides the guest's, at the hello.
    pub(crate) own_kib: u64,
}

const OURS: &str = "kata-mshv-vmm";

fn a_tiny_guest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (kernel, initramfs) = tiny::write(folder.path())?;
    let images = Images { kernel, initramfs };
    let mut peers = peers::present();
    peers.retain(|peer| !matches!(peer, Peer::CloudHypervisorForPods));
    let mut columns = columns(&peers);
    for round in 0..=ROUNDS {
        let mut times = vec![ours::tiny(&images)?];
        for peer in &peers {
            times.push(peer.tiny(&images)?);
        }
        if round > 0 {
            add(&mut columns, times.into_iter().map(milliseconds));
        }
    }
    figures::print("exec to the first line of a tiny guest", "ms", &columns);
    Ok(())
}

/// On a host that gives shared memory huge pages on request, as it gives them to
/// memory that is not shared.
fn with_huge_pages(memory_mib: u64) -> anyhow::Result<()> {
    let _setting = HugePages::set("advise")?;
    linux(memory_mib)
}

fn linux(memory_mib: u64) -> anyhow::Result<()> {
    let images = Images {
        kernel: lab::path("vmlinux"),
        initramfs: lab::path("initramfs.cpio"),
    };
    let peers = peers::present();
    let [mut everything, mut hello, mut own] = [(); 3].map(|()| columns(&peers));
    for round in 0..=ROUNDS {
        let mut boots = vec![ours::boot(memory_mib)?];
        for peer in &peers {
            boots.push(peer.boot(&images, memory_mib)?);
        }
        if round > 0 {
            add(
                &mut everything,
                boots.iter().map(|boot| milliseconds(boot.everything)),
            );
            add(
                &mut hello,
                boots.iter().map(|boot| milliseconds(boot.hello)),
            );
            #[allow(clippy::cast_precision_loss)] // Memory of one process.
            add(&mut own, boots.iter().map(|boot| boot.own_kib as f64));
        }
    }
    let size = format!("Linux, 1 vCPU, {memory_mib} MiB");
    figures::print(
        &format!("{size}: exec of the VMM to the agent's hello"),
        "ms",
        &hello,
    );
    figures::print(&format!("{size}: device processes too"), "ms", &everything);
    figures::print(
        &format!("{size}: VMM's memory besides the guest's, PSS"),
        "KiB",
        &own,
    );
    Ok(())
}

/// One for us, one for each peer.
fn columns(peers: &[Peer]) -> Vec<Column> {
    let names = peers.iter().map(Peer::name);
    std::iter::once(OURS)
        .chain(names)
        .map(|name| Column {
            name,
            values: Vec::new(),
        })
        .collect()
}

fn add(columns: &mut [Column], values: impl Iterator<Item = f64>) {
    for (column, value) in columns.iter_mut().zip(values) {
        column.values.push(value);
    }
}
