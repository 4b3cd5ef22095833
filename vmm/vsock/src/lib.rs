//! virtio-vsock (virtio 1.2, section 5.10) as a vhost-user back end.
//!
//! Only the guest opens connections. Each one to an allowed port of the host
//! becomes a UNIX socket pair of which one end is handed to the shim; see
//! [`host::handover`]. Everything that comes from the guest is taken to be
//! hostile.
//!
//! From the wire inwards, each layer knows only those below it:
//!
//! | module | what it does |
//! |---|---|
//! | [`server`] | the process: waits for the VMM, ends with it or with the shim |
//! | [`backend`] | vhost-user's callbacks, and who is served when |
//! | [`ring`] | virtqueues: descriptor chains in and out of guest memory |
//! | [`device`] | packets against host ends |
//! | [`host`] | sockets, the handover to the shim, events |
//! | [`state`] | connections and credit, without any I/O |
//!
//! Beside them, [`jail`] takes away from the process what it does not need,
//! [`inherited`] takes over descriptors from the parent, and [`complaints`]
//! writes the warnings a guest can cause.

pub mod backend;
pub mod complaints;
pub mod device;
pub mod host;
pub mod inherited;
pub mod jail;
pub mod ring;
pub mod server;
pub mod state;
