//! What is said on the control socket between the shim and the built-in VMM.
//!
//! A `SOCK_SEQPACKET` socket, descriptor [`CONTROL_FD`] of the VMM's process.
//! Each message is one JSON value of at most [`MAX_MESSAGE`] bytes. The shim
//! sends [`Request`]s, the first of which is [`Request::Start`] with the
//! machine's descriptors beside it (`SCM_RIGHTS`); the VMM sends [`Message`]s,
//! one answer for each request in their order, and events between them. When
//! either side closes its end, the machine is over.

use serde::{Deserialize, Serialize};

use crate::{DiskConfig, MachineConfig, NetConfig};

/// Number of the control socket in the VMM's process.
pub const CONTROL_FD: i32 = 3;

/// Longest message, bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// Most descriptors beside [`Request::Start`]. The kernel's own limit is 253
/// (unix(7), `SCM_RIGHTS`).
pub const MAX_DESCRIPTORS: usize = 64;

/// What the shim asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Request {
    /// Make the machine and run it. Once, and first.
    Start {
        /// What it is to be.
        machine: MachineConfig,
        /// What the descriptors beside the message are, in their order.
        descriptors: Vec<Descriptor>,
    },
    /// Stop executing instructions until `Resume`; the VMM's own devices hold
    /// still too, and so does the host's kernel where it moves packets. Nothing is
    /// lost: device processes and disks finish what they are at, and packets wait in
    /// their tap. A device process that dies meanwhile is noticed by `Resume`.
    Pause,
    /// Go on after `Pause`.
    Resume,
    /// End the machine at once, whatever it is doing.
    Stop,
    /// Have so many processors run: the first ones, up to
    /// `MachineConfig::max_vcpus`. A guest brings new ones online after the
    /// answer, and has taken those that go offline before it asks.
    ResizeVcpus {
        /// How many, at least 1.
        vcpus: u32,
    },
    /// Have the guest be told that it is to have so much memory, between
    /// `MachineConfig::memory_mib` and `max_memory_mib`, in steps of 16 MiB from
    /// the former. The answer comes at once; `Stats::memory_mib` tells how far
    /// the guest is, which takes its time, and gives back what it can.
    ResizeMemory {
        /// How much, MiB.
        memory_mib: u64,
    },
    /// Have the guest be told that it is to give back so much of its memory, and
    /// not to use it: up to 64 MiB less than `MachineConfig::memory_mib`; 0 lets it
    /// have all again. The answer comes at once; `Stats::balloon_mib` tells how far
    /// the guest says that it is. One that has no memory left takes some back.
    ResizeBalloon {
        /// How much, MiB.
        balloon_mib: u64,
    },
    /// What the machine has done so far.
    Stats,
    /// Put a device into an empty slot, with its descriptors beside the message:
    /// the disk; or the interface's taps, and then those of vhost-net, as
    /// `NetConfig` says. The answer is [`Answer::Attached`].
    Attach {
        /// What it is to be.
        device: Pluggable,
    },
    /// Take out what was put in. Its driver has to have let go of it before:
    /// the guest unbinds it.
    Detach {
        /// Where it is, as [`Answer::Attached`] said.
        slot: String,
    },
}

/// A device that comes to a machine that runs, and leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Pluggable {
    /// A disk.
    Disk(DiskConfig),
    /// A network interface.
    Net(NetConfig),
}

/// What a descriptor beside [`Request::Start`] is. KVM, kernel and initramfs
/// have to be there; a device exists if its descriptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descriptor {
    /// `/dev/kvm`, for reading and writing: the VMM cannot open it.
    Kvm,
    /// The kernel, readable.
    Kernel,
    /// The initramfs, readable.
    Initramfs,
    /// Where the guest's console goes, writable: a pipe, a socket or a file.
    /// What is written faster than it is read is lost.
    Console,
    /// Where the guest's `hvc0` goes, which is a console besides; the same kind
    /// of descriptor, or the same one once more.
    VirtioConsole,
    /// Connected to the virtio-fs device's vhost-user socket.
    Fs,
    /// Connected to the vsock device's vhost-user socket.
    Vsock,
    /// A tap; for each entry of `MachineConfig::nets` its `queue_pairs`, in that
    /// order.
    Tap,
    /// `/dev/vhost-net`, for reading and writing; for each entry of
    /// `MachineConfig::nets` with `vhost` its `queue_pairs`, in that order.
    VhostNet,
    /// A file or block device, readable, and writable if the guest may write;
    /// one per entry of `MachineConfig::disks`, in that order.
    Disk,
}

/// What the VMM says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// To the oldest request that has none yet.
    Answer(Answer),
    /// Unasked.
    Event(Event),
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As asked.
    Done,
    /// To [`Request::Stats`].
    Stats(Stats),
    /// To [`Request::Attach`].
    Attached {
        /// Where: the name of the slot's device in the guest, which its kernel
        /// calls `virtio-mmio.7`. A driver of the guest's takes the device when
        /// that is written to the `bind` file of `virtio-mmio`.
        slot: String,
    },
    /// Not at all; after a refused `Start` the VMM ends.
    Refused {
        /// The error with its causes, one line.
        why: String,
    },
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The machine is over. The last message: the VMM ends with it.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}

/// Why a machine is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The guest ended itself in an orderly way.
    Exited {
        /// What it said: 0 if all was well.
        status: u8,
    },
    /// The guest asked for a reset of the machine.
    Rebooted,
    /// The guest's kernel panicked.
    Panicked,
    /// The guest lost control of its processor.
    TripleFault,
    /// By [`Request::Stop`].
    Requested,
    /// A device process is gone, or broke the protocol.
    DeviceLost {
        /// Which: `fs`, `vsock`.
        device: String,
    },
    /// The hypervisor could not go on.
    Failed {
        /// With what, and why: one line.
        what: String,
    },
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processors that run.
    pub vcpus: u32,
    /// MiB of memory that the guest has.
    #[serde(default)]
    pub memory_mib: u64,
    /// MiB of that which it says that it has given back and does not use.
    #[serde(default)]
    pub balloon_mib: u64,
    /// Exits to the VMM because of an I/O port.
    pub port_exits: u64,
    /// Exits to the VMM because of a device register.
    pub register_exits: u64,
    /// Exits to the VMM for anything else.
    pub other_exits: u64,
    /// Bytes of its consoles that nobody took in time.
    pub console_lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives<T>(value: &T, text: &str)
    where
        T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
    {
        assert_eq!(serde_json::to_string(value).unwrap(), text);
        assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value);
    }

    #[test]
    fn the_words_on_the_wire_stay() {
        survives(&Request::Pause, r#""pause""#);
        survives(&Message::Answer(Answer::Done), r#"{"answer":"done"}"#);
        let reason = StopReason::Exited { status: 3 };
        survives(
            &Message::Event(Event::Stopped { reason }),
            r#"{"event":{"stopped":{"reason":{"exited":{"status":3}}}}}"#,
        );
        survives(&StopReason::TripleFault, r#""triple_fault""#);
        survives(
            &Request::ResizeVcpus { vcpus: 4 },
            r#"{"resize_vcpus":{"vcpus":4}}"#,
        );
        survives(
            &Request::ResizeMemory { memory_mib: 1024 },
            r#"{"resize_memory":{"memory_mib":1024}}"#,
        );
        survives(
            &Request::ResizeBalloon { balloon_mib: 64 },
            r#"{"resize_balloon":{"balloon_mib":64}}"#,
        );
        let device = Pluggable::Disk(DiskConfig {
            serial: "data".into(),
            read_only: true,
            queues: 1,
        });
        survives(
            &Request::Attach { device },
            r#"{"attach":{"device":{"disk":{"serial":"data","read_only":true,"queues":1}}}}"#,
        );
        let slot = "virtio-mmio.7".to_owned();
        survives(
            &Message::Answer(Answer::Attached { slot }),
            r#"{"answer":{"attached":{"slot":"virtio-mmio.7"}}}"#,
        );
    }

    #[test]
    fn an_unknown_request_is_an_error() {
        for text in [r#""explode""#, r#"{"start":{"machine":{}}}"#, "", "[]"] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
