//! A device behind its registers, as [`monitor::virtio::slots`] has it, but
//! without KVM: kicks and interrupts are seen here.

use std::sync::Arc;

use monitor::events::{Events, Token};
use monitor::memory::ram;
use monitor::virtio::Slot;
use monitor::virtio::blk::{self, Disk, engine::Engine};
use monitor::virtio::device::{Device, DeviceError};
use monitor::virtio::transport::{Place, Transport, Wires};
use monitor::virtio::window::{Window, Windows};
use monitor::virtio::{register, status};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::rings::Queue;

/// Guest memory, MiB: the least that a machine has.
pub const MEMORY_MIB: u64 = 64;
/// The same in bytes.
pub const MEMORY: u64 = MEMORY_MIB << 20;

/// Times that a device is served before its driver goes on. One that kicks
/// itself gets its turn again.
const ROUNDS: usize = 3;

/// VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;

/// The device, and what its driver has of it.
pub struct Machine {
    transport: Transport,
    window: Window,
    slot: Slot,
    kind: u32,
    kicks: Vec<Arc<EventFd>>,
    call: Arc<EventFd>,
    events: Events,
    /// Always readable, so that nothing waits.
    _awake: EventFd,
    /// Who does the work of a disk.
    disks: Option<Engine>,
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
}

impl Machine {
    /// With a disk, whose work `engine` does.
    #[must_use]
    pub fn with_disk(disk: Disk, engine: Engine) -> Self {
        Self {
            disks: Some(engine),
            ..Self::new(Box::new(disk))
        }
    }

    /// With `device` in one of its slots.
    #[must_use]
    pub fn new(device: Box<dyn Device>) -> Self {
        let slot = Slot::new(1).unwrap();
        let window = Windows::new().unwrap().of(slot);
        let events = Events::new().unwrap();
        let awake = EventFd::new(EFD_NONBLOCK).unwrap();
        awake.write(1).unwrap();
        watch(&events, &awake);
        let event = || Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let kicks: Vec<_> = device.queue_sizes().iter().map(|_| event()).collect();
        let (call, kind) = (event(), device.kind());
        let memory = ram::allocate(MEMORY_MIB).unwrap();
        let place = Place {
            slot,
            window: window.clone(),
            wires: Wires {
                kicks: kicks.clone(),
                call: Arc::clone(&call),
            },
            memory: memory.clone(),
            events: events.clone(),
        };
        Self {
            transport: Transport::new(device, place),
            window,
            slot,
            kind,
            kicks,
            call,
            events,
            _awake: awake,
            disks: None,
            memory,
        }
    }

    /// How many queues the device has.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.kicks.len()
    }

    /// What the driver reads.
    #[must_use]
    pub fn read(&self, register: u64) -> u32 {
        self.window.get(register)
    }

    /// Brings the device up as a driver should, with those of `wanted` that it
    /// offers, and queues of `sizes`; of 0 entries, one is left out.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn bring_up(&mut self, wanted: u64, sizes: &[u16]) -> Result<(), DeviceError> {
        self.write(register::STATUS, 0)?;
        self.write(register::STATUS, status::ACKNOWLEDGE)?;
        self.write(register::STATUS, status::ACKNOWLEDGE | status::DRIVER)?;
        for half in [0, 1] {
            self.write(register::DEVICE_FEATURES_SEL, half)?;
            let offered = self.read(register::DEVICE_FEATURES);
            self.write(register::DRIVER_FEATURES_SEL, half)?;
            let wanted = half_of(wanted | VERSION_1, half);
            self.write(register::DRIVER_FEATURES, offered & wanted)?;
        }
        let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.write(register::STATUS, agreed)?;
        for (number, size) in (0..).zip(sizes) {
            self.set_up_queue(number, *size)?;
        }
        self.write(register::STATUS, agreed | status::DRIVER_OK)
    }

    fn set_up_queue(&mut self, number: u32, size: u16) -> Result<(), DeviceError> {
        if size == 0 {
            return Ok(());
        }
        let queue = Queue::new(number.into());
        self.write(register::QUEUE_SEL, number)?;
        self.write(register::QUEUE_NUM, size.into())?;
        for (low, high, address) in [
            (
                register::QUEUE_DESC_LOW,
                register::QUEUE_DESC_HIGH,
                queue.table(),
            ),
            (
                register::QUEUE_DRIVER_LOW,
                register::QUEUE_DRIVER_HIGH,
                queue.available(),
            ),
            (
                register::QUEUE_DEVICE_LOW,
                register::QUEUE_DEVICE_HIGH,
                queue.used(),
            ),
        ] {
            self.write(low, half_of(address, 0))?;
            self.write(high, half_of(address, 1))?;
        }
        self.write(register::QUEUE_READY, 1)
    }

    /// The driver writes a register.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn write(&mut self, register: u64, value: u32) -> Result<(), DeviceError> {
        self.access(register, &value.to_le_bytes())
    }

    /// The driver writes bytes anywhere among the registers.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn access(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.transport.write(offset, bytes)?;
        self.check();
        Ok(())
    }

    /// The driver notifies a queue, if there is such.
    pub fn kick(&self, queue: usize) {
        if let Some(kick) = self.kicks.get(queue) {
            kick.write(1).unwrap();
        }
    }

    /// The main thread's turn: the device is served as long as it has to be,
    /// within reason.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn serve(&mut self) -> Result<(), DeviceError> {
        for _ in 0..ROUNDS {
            let mut served = false;
            for token in self.events.wait().unwrap() {
                if let Token::Device { slot, source } = token {
                    assert_eq!(slot, self.slot);
                    self.serve_source(source)?;
                    served = true;
                }
            }
            served |= self.finish_disk_work()?;
            if !served {
                break;
            }
        }
        Ok(())
    }

    /// Whether there was any.
    fn finish_disk_work(&mut self) -> Result<bool, DeviceError> {
        let ready = self.disks.as_ref().map(Engine::ready).transpose()?;
        let is_ready = ready.unwrap_or_default().contains(&self.slot);
        if is_ready {
            self.serve_source(blk::FINISHED)?;
        }
        Ok(is_ready)
    }

    /// An event of the device's, which may come late.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn serve_source(&mut self, source: u16) -> Result<(), DeviceError> {
        self.transport.serve(source)?;
        self.check();
        Ok(())
    }

    /// Interrupts since the last call.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }

    /// Whether the driver is ready and the device works.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let status = self.read(register::STATUS);
        status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// What holds whatever a driver does (virtio 1.2, section 4.2.2).
    fn check(&self) {
        assert_eq!(self.read(register::MAGIC_VALUE), register::MAGIC);
        assert_eq!(self.read(register::VERSION), register::MODERN);
        assert_eq!(self.read(register::DEVICE_ID), self.kind);
        let status = self.read(register::STATUS);
        let steps = status & !(status::NEEDS_RESET | status::FAILED);
        assert!([0, 1, 3, 11, 15].contains(&steps), "status {status:#x}");
        let pending = self.read(register::INTERRUPT_STATUS);
        let started = status & status::DRIVER_OK != 0;
        assert_eq!(pending & register::USED_BUFFER != 0, started);
    }
}

fn half_of(bits: u64, half: u32) -> u32 {
    u32::try_from(bits >> (32 * half) & 0xffff_ffff).unwrap()
}

fn watch(events: &Events, event: &EventFd) {
    use std::os::fd::{AsRawFd, BorrowedFd};
    #[allow(unsafe_code)] // The type lends its descriptor by number only.
    // SAFETY: it is open for the call, which keeps nothing of it.
    let fd = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
    events.watch(fd, Token::Over).unwrap();
}
