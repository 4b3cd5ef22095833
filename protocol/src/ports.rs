//! Who dials whom. The guest always dials; the host never connects in, so
//! nothing in the guest needs to listen and nothing on the host to guess when
//! the guest is ready.

/// vsock context id of the host (virtio 1.2, section 5.10.4).
pub const HOST_CID: u32 = 2;

/// The agent's control connection: one per boot, ttrpc, the agent serves.
pub const CONTROL: u32 = 1024;

/// One connection per standard stream, opened with its [`crate::Token`].
pub const STDIO: u32 = 1025;
