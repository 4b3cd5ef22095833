//! What is wrong with a configuration.

use std::io;

use vmm_api::Descriptor;

use super::MOST_LATE_MIB;
use crate::boot::MOST_CPUS;
use crate::virtio::blk::DiskError;
use crate::virtio::blk::engine::EngineError;
use crate::virtio::net::NetError;
use crate::virtio::vhost_user::{TagError, VhostUserError};

/// A configuration that no machine can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Too few or too many.
    #[error("{vcpus} processors: a machine has 1 to {MOST_CPUS}")]
    Vcpus {
        /// As asked for.
        vcpus: u32,
    },
    /// Fewer than at its start, or too many.
    #[error(
        "{most} processors at most: a machine that starts with {vcpus} has {vcpus} to {MOST_CPUS}"
    )]
    MostVcpus {
        /// As asked for.
        most: u32,
        /// At its start.
        vcpus: u8,
    },
    /// Less than at its start, or too much.
    #[error(
        "{most} MiB of memory at most: a machine that starts with {memory} has up to {MOST_LATE_MIB} more"
    )]
    MostMemory {
        /// As asked for.
        most: u64,
        /// At its start.
        memory: u64,
    },
    /// The message and its descriptors do not belong together.
    #[error("{named} descriptors are named and {sent} were sent")]
    Count {
        /// In the message.
        named: usize,
        /// Beside it.
        sent: usize,
    },
    /// One that has to be there is not.
    #[error("the descriptor of the {what:?} is missing")]
    Missing {
        /// Which.
        what: Descriptor,
    },
    /// One that can be there once is there twice.
    #[error("there are two descriptors of the {what:?}")]
    Twice {
        /// Which.
        what: Descriptor,
    },
    /// More than the interfaces have.
    #[error("{taps} taps and {vhosts} descriptors of vhost-net belong to no network interface")]
    NoNet {
        /// Taps that are left over.
        taps: usize,
        /// The same of vhost-net.
        vhosts: usize,
    },
    /// An interface that cannot be made.
    #[error("make network interface {index}")]
    Net {
        /// Which, from 0 on.
        index: usize,
        /// Why.
        #[source]
        source: NetError,
    },
    /// Disks and what they are made of do not belong together.
    #[error("{disks} disks on {backings} files or block devices: each has one")]
    Disks {
        /// Disks in the message.
        disks: usize,
        /// Files and block devices beside it.
        backings: usize,
    },
    /// A disk that cannot be made.
    #[error("make disk {index}")]
    Disk {
        /// Which, from 0 on.
        index: usize,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// Nothing can be told to the balloon.
    #[error("make an event of the memory that is wanted back")]
    Balloon(#[source] io::Error),
    /// Nobody does the work of disks.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The share has no name for the guest.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Where a console goes cannot be written to.
    #[error("use the descriptor of the {what:?}")]
    Console {
        /// Which.
        what: Descriptor,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device process cannot be reached.
    #[error(transparent)]
    VhostUser(#[from] VhostUserError),
}
