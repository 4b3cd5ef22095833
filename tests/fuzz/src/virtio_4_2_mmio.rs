//! The registers of a device (virtio 1.2, sections 3.1, 4.2), against a model
//! of what a device is told.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::device::{Device, DeviceError, Served, Start};
use monitor::virtio::register;
use monitor::virtio::status::{DRIVER_OK, NEEDS_RESET};
use virtio_queue::QueueT;

use crate::driver::REGISTERS;
use crate::machine::{MEMORY, Machine};

const KIND: u32 = 42;
const SIZES: [u16; 3] = [256, 16, 1];
const VERSION_1: u64 = 1 << 32;
const OFFERED: u64 = 0xf0f0 << 24 | 1 << 29 | 0b1011;
const MOST_STEPS: usize = 400;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A register and a value that mean something more often than not.
    Write(u8, Value),
    /// Anything.
    Access(u16, [u8; 8], u8),
    /// The whole sequence of a driver that follows the rules.
    BringUp(u64, [u8; 3]),
    /// The device is served, which leads to this.
    Serve(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Status(u8),
    Small(u8),
    Address(u16),
    Any(u32),
}

impl Value {
    fn get(self) -> u32 {
        match self {
            Self::Status(index) => {
                let all = [0, 1, 3, 11, 15, 0x83, 0x8f, 0x4f];
                all[usize::from(index) % all.len()]
            }
            Self::Small(value) => value.into(),
            Self::Address(page) => u32::from(page) << 12,
            Self::Any(value) => value,
        }
    }
}

/// What the device knows.
struct Told {
    running: bool,
    starts: u64,
    stops: u64,
    serves: Option<Served>,
    config: [u8; 300],
}

struct Probe(Arc<Mutex<Told>>);

impl Device for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn kind(&self) -> u32 {
        KIND
    }

    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(OFFERED)
    }

    /// Longer than there is room for.
    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.lock().unwrap().config.to_vec())
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset < 256, "beyond the slot");
        assert!((1..=8).contains(&bytes.len()));
        let mut told = self.0.lock().unwrap();
        for (to, from) in told.config.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }

    /// Section 3.1.1: with features that were offered, and queues that are in
    /// memory, once.
    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let mut told = self.0.lock().unwrap();
        assert!(!told.running, "started twice");
        assert_eq!(start.features & !(OFFERED | VERSION_1), 0);
        assert_ne!(start.features & VERSION_1, 0);
        assert_eq!(start.queues.len(), SIZES.len());
        for (ready, most) in start.queues.iter().zip(SIZES) {
            let Some(ready) = ready else { continue };
            let queue = &ready.queue;
            let size = queue.size();
            assert!(size.is_power_of_two() && size <= most, "{size}");
            for (start, bytes, alignment) in [
                (queue.desc_table(), 16 * u64::from(size), 16),
                (queue.avail_ring(), 6 + 2 * u64::from(size), 2),
                (queue.used_ring(), 6 + 8 * u64::from(size), 4),
            ] {
                assert_eq!(start % alignment, 0);
                assert!(start.checked_add(bytes).is_some_and(|end| end <= MEMORY));
            }
            let event_idx = start.features >> 29 & 1 == 1;
            assert_eq!(queue.event_idx_enabled(), event_idx);
        }
        told.running = true;
        told.starts += 1;
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        let mut told = self.0.lock().unwrap();
        told.config[0] = told.config[0].wrapping_add(1);
        Ok(told.serves.unwrap_or(Served::Quiet))
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        let mut told = self.0.lock().unwrap();
        assert!(told.running, "stopped without a start");
        told.running = false;
        told.stops += 1;
        Ok(())
    }
}

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let told = Arc::new(Mutex::new(Told {
        running: false,
        starts: 0,
        stops: 0,
        serves: None,
        config: [0x5a; 300],
    }));
    let mut machine = Machine::new(Box::new(Probe(Arc::clone(&told))));
    let mut bytes = Unstructured::new(data);
    for _ in 0..MOST_STEPS {
        match bytes.arbitrary() {
            Ok(step) if !bytes.is_empty() => act(step, &mut machine, &told),
            _ => break,
        }
        check(&machine, &told.lock().unwrap());
    }
}

fn act(step: Step, machine: &mut Machine, told: &Mutex<Told>) {
    match step {
        Step::Write(which, value) => {
            let register = REGISTERS[usize::from(which) % REGISTERS.len()];
            machine.write(register, value.get()).unwrap();
        }
        Step::Access(offset, bytes, width) => {
            let width = 1 + usize::from(width) % bytes.len();
            machine
                .access((offset % 512).into(), &bytes[..width])
                .unwrap();
        }
        Step::BringUp(features, exponents) => {
            let sizes = exponents.map(|exponent| 1_u16 << (exponent % 10));
            machine.bring_up(features, &sizes).unwrap();
            let possible = sizes.iter().zip(SIZES).all(|(size, most)| *size <= most);
            assert_eq!(told.lock().unwrap().running, possible);
        }
        Step::Serve(serves) => serve(serves, machine, told),
    }
}

fn serve(serves: u8, machine: &mut Machine, told: &Mutex<Told>) {
    let serves = [
        Served::Quiet,
        Served::ConfigChanged,
        Served::ConfigRewritten,
        Served::NeedsReset,
    ][usize::from(serves % 4)];
    told.lock().unwrap().serves = Some(serves);
    let (generation, _) = (
        machine.read(register::CONFIG_GENERATION),
        machine.interrupts(),
    );
    machine.serve_source(0).unwrap();
    let changed = matches!(serves, Served::ConfigChanged | Served::ConfigRewritten);
    let moved = machine.read(register::CONFIG_GENERATION) != generation;
    assert_eq!(moved, changed);
    let running = told.lock().unwrap().running;
    let quiet = matches!(serves, Served::Quiet | Served::ConfigRewritten);
    let wanted = running && !quiet;
    assert_eq!(machine.interrupts(), u64::from(wanted));
    if serves == Served::NeedsReset {
        assert_ne!(machine.read(register::STATUS) & NEEDS_RESET, 0);
    }
}

fn check(machine: &Machine, told: &Told) {
    let status = machine.read(register::STATUS);
    assert_eq!(status & DRIVER_OK != 0, told.running);
    assert_eq!(told.starts, told.stops + u64::from(told.running));
    assert!(
        SIZES
            .map(u32::from)
            .contains(&machine.read(register::QUEUE_NUM_MAX))
            || machine.read(register::QUEUE_NUM_MAX) == 0
    );
    assert!(machine.read(register::QUEUE_READY) <= 1);
    let half = machine.read(register::DEVICE_FEATURES);
    let halves = [0, OFFERED & 0xffff_ffff, (OFFERED | VERSION_1) >> 32];
    assert!(halves.contains(&half.into()), "{half:#x}");
}
