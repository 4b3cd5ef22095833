//! End-to-end tests through a real containerd, and the bed they run in.
//!
//! ```text
//! isolation   namespaces of its own for everything below; nothing leaks out
//!   bed       a containerd of Debian's, configured, with images
//!     harness   cases one after the other, each from a clean bed to a clean bed
//!       cases     what is shown; they use `ctr` and `pod`
//! ```

pub mod bed;
#[path = "../cases/mod.rs"]
mod cases;
pub mod ctr;
pub mod harness;
pub mod images;
pub mod in_lab;
pub mod initramfs;
pub mod isolation;
pub mod kubelet;
pub mod leaks;
pub mod loop_device;
mod neighbour;
pub mod network_view;
pub mod node;
pub mod operator;
pub mod pod;
pub mod segment;
pub mod task;
pub mod terminal;
pub mod thin_pool;
pub mod traffic;
