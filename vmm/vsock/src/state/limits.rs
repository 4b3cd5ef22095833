//! How much a guest may use.

use std::time::Duration;

/// Connections a guest may have, those counted that are closing or draining.
pub const MAX_CONNECTIONS: usize = 1024;

/// Resets that may wait for room in the guest before its packets are no longer
/// read (virtio 1.2, section 5.10.6.1.2 asks for some, and for an end).
pub(super) const MAX_REPLIES: usize = 128;

/// How long a guest may owe the reset that ends a connection. The figure is
/// Linux's own.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// Receive buffer of a connection while there are few of them, octets.
pub const LARGE_BUFFER: u32 = 256 << 10;

/// Receive buffer of the connections beyond `FEW_CONNECTIONS`, octets. What is
/// granted to a guest stays below 48 MiB in sum, whatever it does.
pub(super) const SMALL_BUFFER: u32 = 32 << 10;

/// Connections that get a [`LARGE_BUFFER`].
pub(super) const FEW_CONNECTIONS: usize = 64;
