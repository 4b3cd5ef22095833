//! What a hostile guest, device process or image can feed to the product, as
//! functions of bytes that a fuzzer chooses. docs/fuzzing.md says how to run
//! them, and what they have found.
//!
//! | module | bytes become |
//! |---|---|
//! | [`virtio_2_7_split_queue`] | rings and chains, against a model of both |
//! | [`virtio_4_2_mmio`] | accesses to a device's registers, against a model |
//! | [`virtio_5_1_network`] to [`virtio_5_15_memory`] | a driver of that device |
//! | [`virtio_5_1_6_5_control`] | its commands to an interface of several queues |
//! | [`vhost_user_replies`] | what a device process answers |
//! | [`control_messages`] | a message on the control socket, with descriptors |
//! | [`boot_images`], [`boot_command_line`] | what is booted, and how |
//! | [`pc_ports`] | accesses to I/O ports |
//! | [`agent_replies`] | what a guest's agent answers to the shim |
//!
//! Beside them, [`machine`] is a device behind its registers, in memory that
//! its driver has in hand, [`rings`] and [`driver`] what such a driver does, and
//! [`wire`] a tap. A target panics when the product breaks a promise; that is what a
//! fuzzer looks for.

// A target that cannot go on has found something, or has no kernel to run on.
#![allow(clippy::unwrap_used)]

pub mod agent_replies;
pub mod boot_command_line;
pub mod boot_images;
pub mod control_messages;
pub mod driver;
pub mod machine;
pub mod pc_ports;
pub mod rings;
pub mod vhost_user_replies;
pub mod virtio_2_7_split_queue;
pub mod virtio_4_2_mmio;
pub mod virtio_5_10_socket;
pub mod virtio_5_15_memory;
pub mod virtio_5_1_6_5_control;
pub mod virtio_5_1_network;
pub mod virtio_5_2_block;
pub mod virtio_5_3_console;
pub mod virtio_5_4_entropy;
pub mod virtio_5_5_balloon;
pub mod wire;

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    ("virtio_2_7_split_queue", virtio_2_7_split_queue::run),
    ("virtio_4_2_mmio", virtio_4_2_mmio::run),
    ("virtio_5_1_network", virtio_5_1_network::run),
    ("virtio_5_1_6_5_control", virtio_5_1_6_5_control::run),
    ("virtio_5_2_block", virtio_5_2_block::run),
    ("virtio_5_3_console", virtio_5_3_console::run),
    ("virtio_5_4_entropy", virtio_5_4_entropy::run),
    ("virtio_5_5_balloon", virtio_5_5_balloon::run),
    ("virtio_5_10_socket", virtio_5_10_socket::run),
    ("virtio_5_15_memory", virtio_5_15_memory::run),
    ("vhost_user_replies", vhost_user_replies::run),
    ("control_messages", control_messages::run),
    ("boot_images", boot_images::run),
    ("boot_command_line", boot_command_line::run),
    ("pc_ports", pc_ports::run),
    ("agent_replies", agent_replies::run),
];

/// Does for a process that the fuzzer starts what Rust does before a `main`: a
/// write to a pipe or socket that nobody reads is an error, and no signal.
#[allow(unsafe_code)] // Signal handlers are set by numbers.
pub fn prepare() {
    // SAFETY: no handler of ours runs; the signal is ignored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
