//! Devices that other processes serve, by the vhost-user protocol
//! (QEMU's docs/interop/vhost-user.rst). This process sets them up and then is
//! out of the way: kicks and interrupts go between the guest and theirs.

mod front_end;
mod identity;

pub use front_end::{VhostUser, VhostUserError};
pub use identity::{Identity, TagError, fs, vsock};
