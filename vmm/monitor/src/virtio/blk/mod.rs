//! Disks (virtio 1.2, section 5.2), on files and block devices of the host's.
//!
//! | module | |
//! |---|---|
//! | [`backing`] | what a disk is made of |
//! | [`ioctls`] | what a block device says about itself |
//! | [`serial`] | what the guest knows it by |
//! | [`layout`] | what its driver is told |
//! | [`pieces`], [`request`] | what its driver asks for |
//! | [`vectors`] | guest memory, as the kernel reads and writes it |
//! | [`work`] | what a request takes, step by step |
//! | [`engine`] | who does the steps, for all disks |
//! | [`running`] | requests from the queues to the engine, answers back |
//!
//! The cache is the host's: what was written survives the guest at once, and
//! the host's power after a flush. A driver that does not know of flushes has
//! every write made durable.

mod backing;
pub mod engine;
mod ioctls;
mod layout;
mod pieces;
mod request;
mod running;
mod serial;
mod vectors;
mod work;

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_bindings::virtio_blk::VIRTIO_BLK_F_FLUSH;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use vmm_api::DiskConfig;

use self::backing::Backing;
pub use self::backing::BackingError;
use self::engine::Engine;
use self::request::Rules;
use self::running::{Running, ServeError};
pub use self::serial::SerialError;
use super::device::{Device, DeviceError, Served, Start};

const NAME: &str = "disk";

/// Entries of a queue: as many pieces can a request have.
const QUEUE_SIZE: u16 = 128;
/// Most queues.
const MOST_QUEUES: u16 = 16;
/// Requests of a disk that are under way at once.
const DEPTH: usize = 32;

/// Where the device is told that work of its was finished.
pub const FINISHED: u16 = u16::MAX;

/// A disk that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// What the guest would know it by.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// Too few or too many queues.
    #[error("{queues} queues: a disk has 1 to {MOST_QUEUES}")]
    Queues {
        /// As asked for.
        queues: u16,
    },
    /// What it would be made of.
    #[error(transparent)]
    Backing(#[from] BackingError),
}

/// The device.
pub struct Disk {
    backing: Arc<Backing>,
    config: DiskConfig,
    serial: [u8; 20],
    queue_sizes: Vec<u16>,
    engine: Engine,
    running: Option<Running>,
}

impl Disk {
    /// As `config` says, on the file or block device `fd`.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn new(config: &DiskConfig, fd: OwnedFd, engine: Engine) -> Result<Self, DiskError> {
        let queues = config.queues;
        if !(1..=MOST_QUEUES).contains(&queues) {
            return Err(DiskError::Queues { queues });
        }
        Ok(Self {
            serial: serial::serial(&config.serial)?,
            backing: Arc::new(Backing::new(fd, config.read_only)?),
            config: config.clone(),
            queue_sizes: vec![QUEUE_SIZE; usize::from(queues)],
            engine,
            running: None,
        })
    }
}

impl Device for Disk {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn is_pluggable(&self) -> bool {
        true
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        let DiskConfig {
            read_only, queues, ..
        } = self.config;
        Ok(layout::features(&self.backing, read_only, queues))
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Owned(layout::config(&self.backing, self.config.queues))
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let rules = Rules {
            backing: Arc::clone(&self.backing),
            read_only: self.config.read_only,
            durable: start.features >> VIRTIO_BLK_F_FLUSH & 1 == 0,
            serial: self.serial,
        };
        let running = Running::new(start, rules, self.engine.clone());
        self.running = Some(running.map_err(|source| DeviceError::Events {
            device: NAME,
            source,
        })?);
        Ok(())
    }

    fn serve(&mut self, source: u16) -> Result<Served, DeviceError> {
        let Some(running) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        match running.serve(source) {
            Ok(()) => Ok(Served::Quiet),
            Err(ServeError::Engine(error)) => Err(error.into()),
            Err(ServeError::Queue) => Ok(Served::broken(&mut self.running)),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
