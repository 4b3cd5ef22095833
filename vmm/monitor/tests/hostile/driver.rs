//! A driver of virtio-mmio devices (virtio 1.2, section 4.2), as script: right
//! when it is to be right.

use monitor::virtio::{Slot, register, status};
use virtio_bindings::virtio_ids::{
    VIRTIO_ID_BALLOON, VIRTIO_ID_CONSOLE, VIRTIO_ID_MEM, VIRTIO_ID_NET, VIRTIO_ID_RNG,
};

use crate::program::Op;
use crate::script::Script;

/// The devices of [`crate::machine`], in the order of their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Net = 0,
    /// The same by the host's kernel.
    VhostNet = 1,
    Rng = 2,
    Balloon = 3,
    Console = 4,
    Mem = 5,
}

impl Device {
    pub(crate) const ALL: [Self; 6] = [
        Self::Net,
        Self::VhostNet,
        Self::Rng,
        Self::Balloon,
        Self::Console,
        Self::Mem,
    ];

    pub(crate) fn registers(self) -> u64 {
        Slot::new(self as usize).map_or(0, Slot::address)
    }

    pub(crate) fn id(self) -> u32 {
        match self {
            Self::Net | Self::VhostNet => VIRTIO_ID_NET,
            Self::Rng => VIRTIO_ID_RNG,
            Self::Balloon => VIRTIO_ID_BALLOON,
            Self::Console => VIRTIO_ID_CONSOLE,
            Self::Mem => VIRTIO_ID_MEM,
        }
    }

    pub(crate) fn queues(self) -> u32 {
        match self {
            Self::Rng | Self::Mem => 1,
            Self::Balloon => 3,
            Self::Net | Self::VhostNet | Self::Console => 2,
        }
    }
}

/// Where a queue is, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) size: u32,
    pub(crate) table: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
}

impl Queue {
    /// In RAM, one that is right.
    pub(crate) fn right(number: u32) -> Self {
        let base = 0x100_0000 + 0x1_0000 * u64::from(number);
        Self {
            size: 8,
            table: base,
            available: base + 0x1000,
            used: base + 0x2000,
        }
    }
}

/// Where buffers are.
pub(crate) const BUFFER: u64 = 0x180_0000;

/// Guest address, bytes, flags, what follows.
pub(crate) type Descriptor = (u64, u32, u16, u16);

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

pub(crate) const AGREED: u32 = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;

/// All the way to a device that runs with these queues.
pub(crate) fn bring_up(script: &mut Script, device: Device, queues: &[Queue]) {
    reset(script, device);
    set_up(script, device, queues);
    script.write32(
        device.registers() + register::STATUS,
        AGREED | status::DRIVER_OK,
    );
}

/// Resets it and agrees on version 1 and nothing else.
pub(crate) fn reset(script: &mut Script, device: Device) {
    let registers = device.registers();
    for (offset, value) in [
        (register::STATUS, 0),
        (register::STATUS, status::ACKNOWLEDGE),
        (register::STATUS, status::ACKNOWLEDGE | status::DRIVER),
        (register::DRIVER_FEATURES_SEL, 0),
        (register::DRIVER_FEATURES, 0),
        (register::DRIVER_FEATURES_SEL, 1),
        (register::DRIVER_FEATURES, 1),
        (register::STATUS, AGREED),
    ] {
        script.write32(registers + offset, value);
    }
}

pub(crate) fn set_up(script: &mut Script, device: Device, queues: &[Queue]) {
    let registers = device.registers();
    for (number, queue) in (0_u32..).zip(queues) {
        script.write32(registers + register::QUEUE_SEL, number);
        script.write32(registers + register::QUEUE_NUM, queue.size);
        for (low, address) in [
            (register::QUEUE_DESC_LOW, queue.table),
            (register::QUEUE_DRIVER_LOW, queue.available),
            (register::QUEUE_DEVICE_LOW, queue.used),
        ] {
            script.write32(registers + low, half(address));
            script.write32(registers + low + 4, half(address >> 32));
        }
        script.write32(registers + register::QUEUE_READY, 1);
    }
}

fn half(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).unwrap_or(0)
}

/// Puts a descriptor into a table.
pub(crate) fn describe(script: &mut Script, table: u64, index: u64, descriptor: Descriptor) {
    let (address, length, flags, next) = descriptor;
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    script.place(table + 16 * index, &bytes);
}

/// Makes the first `count` entries of the available ring these, and the index
/// `index`.
pub(crate) fn announce(script: &mut Script, queue: Queue, heads: &[u16], index: u16) {
    let bytes: Vec<u8> = heads.iter().flat_map(|head| head.to_le_bytes()).collect();
    for (at, pair) in (0..).zip(bytes.chunks(2)) {
        let head = u64::from(u16::from_le_bytes([pair[0], pair[1]]));
        script.step(Op::Write16, queue.available + 4 + 2 * at, head, 0);
    }
    script.step(Op::Write16, queue.available + 2, index.into(), 0);
}

pub(crate) fn notify(script: &mut Script, device: Device, queue: u32) {
    script.write32(device.registers() + register::QUEUE_NOTIFY, queue);
}

/// Statuses of a guest that finds its machine broken.
pub(crate) const NOT_READY: u64 = 90;
pub(crate) const NOT_SERVED: u64 = 91;
const NOT_RANDOM: u64 = 92;
const NOT_THERE: u64 = 93;

/// Everything is as a driver expects: each device is there, and the entropy
/// device fills a buffer.
pub(crate) fn check_machine(script: &mut Script) {
    for device in Device::ALL {
        let registers = device.registers();
        script.step(
            Op::Expect32,
            registers + register::MAGIC_VALUE,
            register::MAGIC.into(),
            NOT_THERE,
        );
        script.step(
            Op::Expect32,
            registers + register::DEVICE_ID,
            device.id().into(),
            NOT_THERE,
        );
        script.write32(registers + register::STATUS, 0);
        script.step(Op::Expect32, registers + register::STATUS, 0, NOT_READY);
    }
    let queue = Queue::right(7);
    for word in 0..16 {
        script.step(Op::Write64, queue.used + 8 * word, 0, 0);
        script.step(Op::Write64, queue.available + 8 * word, 0, 0);
    }
    script.step(Op::Write64, BUFFER, 0, 0);
    bring_up(script, Device::Rng, &[queue]);
    let ready = u64::from(AGREED | status::DRIVER_OK);
    script.step(
        Op::Expect32,
        Device::Rng.registers() + register::STATUS,
        ready,
        NOT_READY,
    );
    describe(script, queue.table, 0, (BUFFER, 64, WRITE, 0));
    announce(script, queue, &[0], 1);
    notify(script, Device::Rng, 0);
    script.step(Op::Wait16, queue.used + 2, 1, NOT_SERVED);
    script.step(Op::ExpectSome, BUFFER, 0, NOT_RANDOM);
}
