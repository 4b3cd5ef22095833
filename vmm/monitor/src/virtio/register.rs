//! Offsets of the registers of the MMIO transport, as virtio 1.2 numbers and
//! names them (section 4.2.2, table 4.1), and the values of those that are
//! constant.

#![allow(missing_docs)] // The specification's names.

pub const MAGIC_VALUE: u64 = 0x000;
pub const VERSION: u64 = 0x004;
pub const DEVICE_ID: u64 = 0x008;
pub const VENDOR_ID: u64 = 0x00c;
pub const DEVICE_FEATURES: u64 = 0x010;
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
pub const DRIVER_FEATURES: u64 = 0x020;
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
pub const QUEUE_SEL: u64 = 0x030;
pub const QUEUE_NUM_MAX: u64 = 0x034;
pub const QUEUE_NUM: u64 = 0x038;
pub const QUEUE_READY: u64 = 0x044;
pub const QUEUE_NOTIFY: u64 = 0x050;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACK: u64 = 0x064;
pub const STATUS: u64 = 0x070;
pub const QUEUE_DESC_LOW: u64 = 0x080;
pub const QUEUE_DESC_HIGH: u64 = 0x084;
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
pub const SHM_SEL: u64 = 0x0ac;
pub const SHM_LEN_LOW: u64 = 0x0b0;
pub const SHM_LEN_HIGH: u64 = 0x0b4;
pub const SHM_BASE_LOW: u64 = 0x0b8;
pub const SHM_BASE_HIGH: u64 = 0x0bc;
pub const CONFIG_GENERATION: u64 = 0x0fc;
pub const CONFIG: u64 = CONFIG_BYTES as u64;
/// Where CONFIG is, for addresses in this process.
pub const CONFIG_BYTES: usize = 0x100;

/// "virt".
pub const MAGIC: u32 = 0x7472_6976;
/// Of the transport: not the one from before virtio 1.0.
pub const MODERN: u32 = 2;
/// "KMSH".
pub const VENDOR: u32 = 0x4853_4d4b;
/// A slot without a device.
pub const NO_DEVICE: u32 = 0;
/// In a shared memory region's length and base: there is no such region.
pub const NO_REGION: u32 = u32::MAX;

/// In INTERRUPT_STATUS: buffers were used.
pub const USED_BUFFER: u32 = 1;
/// In INTERRUPT_STATUS: the configuration changed.
pub const CONFIG_CHANGE: u32 = 2;
