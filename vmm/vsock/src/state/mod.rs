//! What virtio-vsock says about connections, without any I/O: packets come in
//! as parsed headers, host events as method calls, and what is to be sent comes
//! out. Everything a guest can do to this device is decided here.
//!
//! [`packet`] is the wire format, [`credit`] the two windows of a connection,
//! [`stage`] the table of its life, [`connection`] one connection made of
//! these, and [`connections`] all of them with whose turn it is. [`verdict`] is
//! what it answers, [`limits`] how much a guest may use.

pub mod connection;
pub mod connections;
pub mod credit;
pub mod limits;
pub mod packet;
pub mod stage;
pub mod verdict;

#[cfg(test)]
mod tests;
