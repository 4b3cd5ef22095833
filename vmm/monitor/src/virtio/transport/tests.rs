//! The transport under drivers that follow the specification, and others.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use virtio_queue::QueueT;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::vhost_user::VhostUserError;
use super::super::window::Windows;
use super::*;
use crate::memory::ram;

const KIND: u32 = 4;
const SIZES: [u16; 2] = [256, 16];
const OFFERED: u64 = 1 << 40 | 1 << 29 | 0b101;
const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;

/// Size and descriptor table of a queue, if the driver uses it.
type Queue = Option<(u16, u64)>;

/// What the device was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Features and queues.
    starts: Vec<(u64, Vec<Queue>)>,
    stops: usize,
    config_writes: Vec<(usize, Vec<u8>)>,
}

struct Fake {
    told: Arc<Mutex<Told>>,
    config: [u8; 8],
    serves: Served,
    is_gone: bool,
}

impl Device for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn kind(&self) -> u32 {
        KIND
    }

    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        match self.is_gone {
            false => Ok(OFFERED),
            true => Err(VhostUserError::Gone { device: "fake" }.into()),
        }
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.config)
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        let write = (offset, bytes.to_vec());
        self.told.lock().unwrap().config_writes.push(write);
        self.config[7] = 0xaa;
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let queues = start.queues.iter().map(|ready| {
            let queue = &ready.as_ref()?.queue;
            Some((queue.size(), queue.desc_table()))
        });
        let start = (start.features, queues.collect());
        self.told.lock().unwrap().starts.push(start);
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        self.config[0] += 1;
        Ok(self.serves)
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.told.lock().unwrap().stops += 1;
        self.config[7] = b'r';
        Ok(())
    }
}

/// A guest with one device.
struct Machine {
    transport: Transport,
    window: Window,
    call: Arc<EventFd>,
    kicks: Vec<Arc<EventFd>>,
    told: Arc<Mutex<Told>>,
}

impl Machine {
    fn new() -> Self {
        Self::with(Served::Quiet, false)
    }

    fn with(serves: Served, is_gone: bool) -> Self {
        let slot = Slot::new(1).unwrap();
        let window = Windows::new().unwrap().of(slot);
        let event = || Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let (call, kicks) = (event(), vec![event(), event()]);
        let told = Arc::new(Mutex::new(Told::default()));
        let device = Fake {
            told: Arc::clone(&told),
            config: *b"configur",
            serves,
            is_gone,
        };
        let place = Place {
            slot,
            window: window.clone(),
            wires: Wires {
                kicks: kicks.clone(),
                call: Arc::clone(&call),
            },
            memory: ram::allocate(64).unwrap(),
            events: Events::new().unwrap(),
        };
        Self {
            transport: Transport::new(Box::new(device), place),
            window,
            call,
            kicks,
            told,
        }
    }

    fn read(&self, register: u64) -> u32 {
        self.window.get(register)
    }

    fn write(&mut self, register: u64, value: u32) {
        let bytes = value.to_le_bytes();
        self.transport.write(register, &bytes).unwrap();
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    fn interrupts(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }

    /// Reads the features as drivers do, half by half.
    fn offered(&mut self) -> u64 {
        let halves = [0, 1].map(|half| {
            self.write(register::DEVICE_FEATURES_SEL, half);
            u64::from(self.read(register::DEVICE_FEATURES))
        });
        halves[0] | halves[1] << 32
    }

    fn accept(&mut self, features: u64) {
        for half in [0, 1] {
            self.write(register::DRIVER_FEATURES_SEL, half);
            self.write(register::DRIVER_FEATURES, half_of(features, half));
        }
    }

    /// Up to the features, which are agreed on or not.
    fn agree(&mut self, features: u64) -> bool {
        self.write(register::STATUS, 0);
        self.write(register::STATUS, status::ACKNOWLEDGE);
        self.write(register::STATUS, 3);
        self.accept(features);
        self.write(register::STATUS, 11);
        self.read(register::STATUS) & status::FEATURES_OK != 0
    }

    fn set_up_queue(&mut self, index: u32, size: u32, address: u32) {
        self.write(register::QUEUE_SEL, index);
        assert_eq!(self.read(register::QUEUE_READY), 0);
        self.write(register::QUEUE_NUM, size);
        for (low, high, offset) in [
            (register::QUEUE_DESC_LOW, register::QUEUE_DESC_HIGH, 0),
            (
                register::QUEUE_DRIVER_LOW,
                register::QUEUE_DRIVER_HIGH,
                0x4000,
            ),
            (
                register::QUEUE_DEVICE_LOW,
                register::QUEUE_DEVICE_HIGH,
                0x8000,
            ),
        ] {
            self.write(low, address + offset);
            self.write(high, 0);
        }
        self.write(register::QUEUE_READY, 1);
    }

    /// All the way, with the first queue alone.
    fn start(&mut self) {
        assert!(self.agree(VERSION_1 | 1));
        self.set_up_queue(0, 128, 0x10_000);
        self.write(register::STATUS, 15);
    }
}

#[test]
fn a_driver_finds_the_device_and_starts_it() {
    let mut machine = Machine::new();
    assert_eq!(machine.read(register::MAGIC_VALUE), register::MAGIC);
    assert_eq!(machine.read(register::DEVICE_ID), KIND);
    assert_eq!(machine.read(register::CONFIG), u32::from_le_bytes(*b"conf"));
    assert_eq!(machine.read(register::STATUS), 0);
    assert_eq!(machine.offered(), OFFERED | VERSION_1);
    machine.start();
    assert_eq!(machine.read(register::STATUS), 15);
    assert_eq!(machine.read(register::QUEUE_READY), 1);
    let queues = vec![Some((128, 0x10_000)), None];
    assert_eq!(machine.told().starts, [(VERSION_1 | 1, queues)]);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 1);
}

/// virtio 1.2, section 4.2.2.2: a queue that is not there has no room.
#[test]
fn queues_are_shown_as_they_are_selected() {
    let mut machine = Machine::new();
    for (index, most) in [(0, 256), (1, 16), (2, 0), (u32::MAX, 0)] {
        machine.write(register::QUEUE_SEL, index);
        assert_eq!(machine.read(register::QUEUE_NUM_MAX), most);
        assert_eq!(machine.read(register::QUEUE_READY), 0);
    }
}

#[test]
fn features_that_were_not_offered_are_not_agreed_on() {
    let mut machine = Machine::new();
    assert!(machine.agree(VERSION_1 | OFFERED));
    assert!(!machine.agree(VERSION_1 | 0b10));
    assert!(!machine.agree(VERSION_1 | 1 << 63));
    assert!(!machine.agree(OFFERED), "version 1 is not optional");
    machine.write(register::STATUS, 15);
    assert_eq!(machine.read(register::STATUS), 3);
    assert_eq!(machine.told().starts, []);
}

#[test]
fn what_is_settled_stays() {
    let mut machine = Machine::new();
    assert!(machine.agree(VERSION_1));
    machine.accept(VERSION_1 | 1 << 63);
    machine.set_up_queue(0, 128, 0x10_000);
    machine.write(register::STATUS, 15);
    machine.write(register::QUEUE_READY, 0);
    machine.write(register::QUEUE_NUM, 4);
    machine.write(register::STATUS, 15);
    assert_eq!(machine.read(register::QUEUE_READY), 1);
    let told = machine.told();
    assert_eq!((told.starts.len(), told.stops), (1, 0));
    assert_eq!(told.starts[0].0, VERSION_1);
}

#[test]
fn a_reset_leaves_nothing_behind() {
    let mut machine = Machine::new();
    machine.start();
    machine.write(register::STATUS, 0);
    assert_eq!(machine.told().stops, 1);
    for register in [
        register::STATUS,
        register::QUEUE_READY,
        register::INTERRUPT_STATUS,
    ] {
        assert_eq!(machine.read(register), 0, "{register:#x}");
    }
    machine.write(register::STATUS, 0);
    assert_eq!(machine.told().stops, 1, "it was stopped already");
    assert!(machine.agree(VERSION_1));
    machine.write(register::STATUS, 15);
    assert_eq!(machine.told().starts[1], (VERSION_1, vec![None, None]));
}

#[test]
fn a_queue_that_cannot_be_needs_a_reset() {
    for (size, address) in [
        (0, 0x1_0000),
        (512, 0x1_0000),
        (16, 0x1_0001),
        (16, 1 << 31),
    ] {
        let mut machine = Machine::new();
        assert!(machine.agree(VERSION_1));
        machine.set_up_queue(1, size, address);
        machine.write(register::STATUS, 15);
        assert_eq!(machine.read(register::STATUS), 11 | status::NEEDS_RESET);
        machine.write(register::STATUS, 15);
        assert_eq!(machine.told().starts, []);
        machine.start();
        assert_eq!(machine.read(register::STATUS), 15);
    }
}

#[test]
fn a_changed_configuration_is_told_until_it_is_acknowledged() {
    let mut machine = Machine::with(Served::ConfigChanged, false);
    machine.start();
    let before = machine.read(register::CONFIG_GENERATION);
    assert_eq!(machine.interrupts(), 0);
    machine.transport.serve(0).unwrap();
    assert_eq!(machine.interrupts(), 1);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 3);
    assert_ne!(machine.read(register::CONFIG_GENERATION), before);
    assert_eq!(machine.read(register::CONFIG), u32::from_le_bytes(*b"donf"));
    machine.write(register::INTERRUPT_ACK, 1);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 3);
    machine.write(register::INTERRUPT_ACK, 3);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 1);
}

#[test]
fn nobody_is_interrupted_who_is_not_ready() {
    let mut machine = Machine::with(Served::ConfigChanged, false);
    machine.transport.serve(0).unwrap();
    assert_eq!(machine.interrupts(), 0);
    assert_eq!(machine.read(register::INTERRUPT_STATUS), 0);
    assert_eq!(machine.read(register::CONFIG), u32::from_le_bytes(*b"donf"));
}

#[test]
fn a_device_that_cannot_go_on_says_so() {
    let mut machine = Machine::with(Served::NeedsReset, false);
    machine.start();
    machine.transport.serve(0).unwrap();
    assert_eq!(machine.read(register::STATUS), 15 | status::NEEDS_RESET);
    assert_eq!(machine.interrupts(), 1);
    machine.write(register::STATUS, 0);
    assert_eq!(machine.told().stops, 1);
}

#[test]
fn a_driver_that_gives_up_starts_nothing() {
    let mut machine = Machine::new();
    machine.write(register::STATUS, 15 | status::FAILED);
    assert_eq!(machine.read(register::STATUS), status::FAILED);
    machine.write(register::STATUS, 0);
    assert_eq!(machine.told(), Told::default());
}

#[test]
fn a_device_that_is_gone_is_an_error_when_it_is_needed() {
    let mut machine = Machine::with(Served::Quiet, true);
    machine.write(register::STATUS, 1);
    machine.write(register::STATUS, 3);
    let asked = machine
        .transport
        .write(register::DEVICE_FEATURES_SEL, &[0; 4]);
    assert!(asked.is_err());
}

#[test]
fn the_configuration_can_be_written_in_any_width() {
    let mut machine = Machine::new();
    for bytes in [&[1][..], &[1, 2], &[1, 2, 3, 4], &[0; 8]] {
        machine
            .transport
            .write(register::CONFIG + 4, bytes)
            .unwrap();
    }
    machine.transport.write(Slot::SIZE - 1, &[9]).unwrap();
    let writes = machine.told().config_writes;
    assert_eq!(writes[1], (4, vec![1, 2]));
    assert_eq!(writes[4], (255, vec![9]));
    let last = machine.read(register::CONFIG + 4).to_le_bytes()[3];
    assert_eq!(last, 0xaa, "what the device made of it");
}

#[test]
fn the_next_driver_reads_what_the_device_made_of_a_reset() {
    let mut machine = Machine::new();
    machine.start();
    machine
        .transport
        .write(register::CONFIG + 4, &[1; 4])
        .unwrap();
    let last = |machine: &Machine| machine.read(register::CONFIG + 4).to_le_bytes()[3];
    assert_eq!(last(&machine), 0xaa);
    let before = machine.read(register::CONFIG_GENERATION);
    machine.write(register::STATUS, 0);
    assert_eq!(last(&machine), b'r');
    assert_ne!(machine.read(register::CONFIG_GENERATION), before);
}

#[test]
fn a_notification_that_kvm_did_not_take_kicks_the_queue() {
    let mut machine = Machine::new();
    machine.write(register::QUEUE_NOTIFY, 1);
    machine.write(register::QUEUE_NOTIFY, 2);
    machine.write(register::QUEUE_NOTIFY, u32::MAX);
    assert!(machine.kicks[0].read().is_err());
    assert_eq!(machine.kicks[1].read().unwrap(), 1);
}

#[test]
fn a_device_that_is_removed_is_stopped_and_its_slot_is_empty() {
    let mut machine = Machine::new();
    machine.start();
    machine.transport.remove().unwrap();
    assert_eq!(machine.told.lock().unwrap().stops, 1);
    assert_eq!(machine.window.get(register::DEVICE_ID), 0);
    assert_eq!(machine.window.get(register::MAGIC_VALUE), register::MAGIC);
}

#[test]
fn registers_for_reading_cannot_be_written() {
    let mut machine = Machine::new();
    for offset in (0..register::CONFIG).step_by(4) {
        let handled = WRITES.iter().any(|(register, _)| *register == offset);
        let before = machine.read(offset);
        if !handled {
            machine.write(offset, 0x55);
            assert_eq!(machine.read(offset), before, "{offset:#x}");
        }
    }
}

/// Offsets that mean something more often than chance would have it.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..WRITES.len()).prop_map(|index| WRITES[index].0),
        4 => Just(register::STATUS),
        1 => 0..Slot::SIZE,
    ]
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => prop::sample::select(vec![0, 1, 3, 11, 15, 143]),
        2 => 0_u32..0x4000,
        1 => any::<u32>(),
    ]
}

proptest! {
    /// Whatever is written, a device is started only with features that it
    /// offered, and is stopped as often as it was started, or is running.
    #[test]
    fn no_driver_gets_a_device_out_of_step(
        starts in any::<bool>(),
        writes in prop::collection::vec((offset(), value(), 1_usize..=8), 0..200),
    ) {
        let mut machine = Machine::new();
        if starts {
            machine.start();
        }
        for (offset, value, width) in writes {
            let bytes = u64::from(value).to_le_bytes();
            // Whole registers more often than not.
            let width = if width > 3 { 4 } else { width };
            machine.transport.write(offset, &bytes[..width]).unwrap();
            let told = machine.told();
            let running = usize::from(machine.read(register::STATUS) & status::DRIVER_OK != 0);
            prop_assert_eq!(told.starts.len(), told.stops + running);
            for (features, _) in told.starts {
                prop_assert_eq!(features & !(OFFERED | VERSION_1), 0);
                prop_assert_ne!(features & VERSION_1, 0);
            }
        }
        prop_assert_eq!(machine.read(register::DEVICE_ID), KIND);
    }
}
