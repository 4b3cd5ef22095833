//! virtio devices, and how drivers reach them.
//!
//! | module | |
//! |---|---|
//! | [`slot`] | where a device can be: addresses and interrupt lines |
//! | [`register`] | the transport's registers, by their numbers |
//! | [`window`] | what the guest reads there, from memory |
//! | [`status`] | how a driver brings a device up, as a table |
//! | [`queue`] | a queue while the driver sets it up |
//! | [`transport`] | one device behind its registers: what writes to them do |
//! | [`device`] | what a device is to the transport |
//! | [`slots`] | all of them |
//! | [`ring`] | the rings of a queue, for a device in this process |
//! | [`chain`] | what lies in them, piece by piece |
//! | [`target`] | how much memory the shim wants a device to give or to hold |
//! | [`rng`], [`net`], [`blk`], [`balloon`], [`console`] | devices in this process |
//! | [`vhost_user`] | devices in processes of their own |
//!
//! To add a device, implement [`device::Device`]; [`rng`] is the smallest
//! example. It gets its queues in `start`, watches their kicks through
//! `Start::sources`, and is called in `serve` when one comes.

pub mod balloon;
pub mod blk;
pub mod chain;
pub mod console;
pub mod device;
#[cfg(test)]
mod driver;
pub mod mem;
pub mod net;
pub mod queue;
pub mod register;
pub mod ring;
pub mod rng;
pub mod slot;
pub mod slots;
pub mod status;
pub mod target;
pub mod transport;
pub mod vhost_user;
pub mod window;

pub use slot::Slot;
