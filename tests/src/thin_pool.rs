//! A pool of thin volumes (device mapper) on files, for containerd's snapshotter
//! `devmapper`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::loop_device::LoopDevice;
use crate::node;

/// Device mapper has one space of names for all.
const NAME: &str = "kata-mshv-e2e";

const DATA_MIB: u64 = 512;
const METADATA_MIB: u64 = 16;
const SECTORS_OF_MIB: u64 = 2048;

/// Of a block, and of what is left when the pool tells that it is full; in sectors.
const BLOCK: u64 = 128;
const LOW_WATER: u64 = 1024;

/// A pool. To be taken away by [`ThinPool::remove`]; dropped, it goes with its last
/// user.
pub struct ThinPool {
    _data: LoopDevice,
    _metadata: LoopDevice,
}

impl ThinPool {
    /// An empty pool.
    ///
    /// # Errors
    ///
    /// What `losetup` or `dmsetup` say.
    pub fn make() -> Result<Self> {
        let (data, metadata) = (LoopDevice::new(DATA_MIB)?, LoopDevice::new(METADATA_MIB)?);
        let table = format!(
            "0 {} thin-pool {} {} {BLOCK} {LOW_WATER}",
            DATA_MIB * SECTORS_OF_MIB,
            metadata.device().display(),
            data.device().display(),
        );
        let pool = Self {
            _data: data,
            _metadata: metadata,
        };
        node::run(&["dmsetup", "create", NAME, "--table", &table])?;
        Ok(pool)
    }

    /// containerd's, with what it writes down in `folder`.
    #[must_use]
    pub fn settings(&self, folder: &Path) -> String {
        format!(
            "[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n\
             root_path = {folder:?}\n\
             pool_name = {NAME:?}\n\
             base_image_size = \"64MB\"\n"
        )
    }

    /// Takes it away; no volume of it may be left.
    ///
    /// # Errors
    ///
    /// What `dmsetup` says.
    pub fn remove(self) -> Result<()> {
        let left = volumes()?;
        anyhow::ensure!(left.is_empty(), "volumes are left: {left:?}");
        node::run(&["dmsetup", "remove", NAME]).map(drop)
    }
}

/// Names of the pool's volumes.
fn volumes() -> Result<Vec<String>> {
    let table = node::run(&["dmsetup", "ls"]).context("list devices")?;
    let names = table
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let of_pool = format!("{NAME}-");
    Ok(names
        .filter(|name| name.starts_with(&of_pool))
        .map(str::to_owned)
        .collect())
}

impl Drop for ThinPool {
    fn drop(&mut self) {
        let mut names = volumes().unwrap_or_default();
        names.push(NAME.to_owned());
        for name in names {
            // None is left but after a failure.
            let _ = node::run(&["dmsetup", "remove", "--deferred", &name]);
        }
    }
}
