//! One device behind its registers: the protocol of virtio 1.2, section 4.2.
//!
//! The guest reads registers from memory ([`super::window`]); what arrives here
//! are its writes, and each ends with the memory as the next read shall find
//! it. Two of them usually do not even arrive: QueueNotify goes from KVM to
//! whoever serves the queue, and InterruptACK to nowhere, because
//! InterruptStatus keeps reading "buffers were used" for as long as the driver
//! is ready. A driver that finds nothing used does nothing; what an exit for
//! each interrupt would cost is worse.

use std::sync::Arc;

use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::device::{Device, DeviceError, Interrupt, ReadyQueue, Served, Start};
use super::queue::{Half, Part, QueueError, QueueSetup};
use super::register;
use super::status::{self, Step, step};
use super::window::Window;
use crate::complaints;
use crate::events::Events;
use crate::virtio::Slot;

/// What connects a device with the guest besides its registers.
pub struct Wires {
    /// One per queue: written when the driver notifies it.
    pub kicks: Vec<Arc<EventFd>>,
    /// Interrupts the guest when written.
    pub call: Arc<EventFd>,
}

/// What is around a device.
pub struct Place {
    /// Which slot it is in.
    pub slot: Slot,
    /// What the guest reads there.
    pub window: Window,
    /// Kicks and interrupts.
    pub wires: Wires,
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// Where the device's descriptors are waited for.
    pub events: Events,
}

/// A device behind its registers.
pub struct Transport {
    device: Box<dyn Device>,
    place: Place,
    status: u32,
    /// Known once a driver has asked.
    offered: Option<u64>,
    accepted: u64,
    device_features_half: u32,
    driver_features_half: u32,
    selected: u32,
    queues: Vec<QueueSetup>,
    generation: u32,
}

type Handler = fn(&mut Transport, u32) -> Result<(), DeviceError>;

/// What a write to a register does. Registers that are not in it are for
/// reading, or not there.
#[rustfmt::skip]
const WRITES: [(u64, Handler); 16] = [
    (register::DEVICE_FEATURES_SEL, Transport::show_features),
    (register::DRIVER_FEATURES_SEL, |t, half| { t.driver_features_half = half; Ok(()) }),
    (register::DRIVER_FEATURES, |t, bits| { t.accept_features(bits); Ok(()) }),
    (register::QUEUE_SEL, |t, index| { t.selected = index; t.show_queue(); Ok(()) }),
    (register::QUEUE_NUM, |t, size| { t.set_up(|queue| queue.set_size(size)); Ok(()) }),
    (register::QUEUE_READY, |t, ready| { t.set_up(|queue| queue.ready = ready == 1); t.show_queue(); Ok(()) }),
    (register::QUEUE_NOTIFY, |t, index| { t.notify(index); Ok(()) }),
    (register::INTERRUPT_ACK, |t, bits| { t.acknowledge(bits); Ok(()) }),
    (register::STATUS, Transport::set_status),
    (register::QUEUE_DESC_LOW, |t, value| { t.set_address(Part::Descriptors, Half::Low, value); Ok(()) }),
    (register::QUEUE_DESC_HIGH, |t, value| { t.set_address(Part::Descriptors, Half::High, value); Ok(()) }),
    (register::QUEUE_DRIVER_LOW, |t, value| { t.set_address(Part::Driver, Half::Low, value); Ok(()) }),
    (register::QUEUE_DRIVER_HIGH, |t, value| { t.set_address(Part::Driver, Half::High, value); Ok(()) }),
    (register::QUEUE_DEVICE_LOW, |t, value| { t.set_address(Part::Device, Half::Low, value); Ok(()) }),
    (register::QUEUE_DEVICE_HIGH, |t, value| { t.set_address(Part::Device, Half::High, value); Ok(()) }),
    // No device has a shared memory region, whichever is selected.
    (register::SHM_SEL, |_, _| Ok(())),
];

impl Transport {
    /// Puts `device` into its place, where a driver can find it.
    #[must_use]
    pub fn new(device: Box<dyn Device>, place: Place) -> Self {
        let queues = device
            .queue_sizes()
            .iter()
            .map(|most| QueueSetup::new(*most));
        let transport = Self {
            status: 0,
            offered: None,
            accepted: 0,
            device_features_half: 0,
            driver_features_half: 0,
            selected: 0,
            queues: queues.collect(),
            generation: 0,
            device,
            place,
        };
        let window = &transport.place.window;
        window.clear();
        window.set_config(&transport.device.config());
        transport.show_queue();
        window.set(register::DEVICE_ID, transport.device.kind());
        transport
    }

    /// Name of the device, for texts.
    #[must_use]
    pub fn device_name(&self) -> &'static str {
        self.device.name()
    }

    /// The driver writes `bytes` at `offset` from the first register.
    ///
    /// # Errors
    /// When the device cannot go on. A write that makes no sense is none.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            self.write_config(usize::try_from(offset).unwrap_or(usize::MAX), bytes);
            return Ok(());
        }
        // Registers are accessed whole (virtio 1.2, section 4.2.2.2).
        let value = <[u8; 4]>::try_from(bytes).map(u32::from_le_bytes);
        let handler = WRITES.iter().find(|(register, _)| *register == offset);
        match (value, handler) {
            (Ok(value), Some((_, handler))) => handler(self, value),
            _ => {
                self.complain(format_args!(
                    "wrote {} bytes to register {offset:#x}",
                    bytes.len()
                ));
                Ok(())
            }
        }
    }

    /// A descriptor of the device's is ready.
    ///
    /// # Errors
    /// When the device cannot go on.
    pub fn serve(&mut self, source: u16) -> Result<(), DeviceError> {
        let served = match self.device.serve(source)? {
            Served::ConfigRewritten => {
                self.show_config();
                self.device.config_shown()?
            }
            other => other,
        };
        match served {
            Served::Quiet | Served::ConfigRewritten => {}
            Served::ConfigChanged => self.config_changed(),
            Served::NeedsReset => self.needs_reset(),
        }
        Ok(())
    }

    /// The machine is paused.
    ///
    /// # Errors
    /// When the device does not hold still.
    pub fn hold(&mut self) -> Result<(), DeviceError> {
        match self.is_started() {
            true => self.device.hold(),
            false => Ok(()),
        }
    }

    /// It is about to go on.
    ///
    /// # Errors
    /// When the device cannot.
    pub fn go_on(&mut self) -> Result<(), DeviceError> {
        match self.is_started() {
            true => self.device.go_on(),
            false => Ok(()),
        }
    }

    /// Whether the machine can go on without it.
    #[must_use]
    pub fn is_pluggable(&self) -> bool {
        self.device.is_pluggable()
    }

    /// Whether a driver has it, or has had it and not let go of it. Linux notes
    /// once more that it knows the device after its driver has reset it.
    #[must_use]
    pub fn has_driver(&self) -> bool {
        self.status & !status::ACKNOWLEDGE != 0
    }

    /// Takes the device out of its place.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn remove(mut self) -> Result<Wires, DeviceError> {
        self.place.window.clear();
        if self.is_started() {
            self.device.stop()?;
        }
        Ok(self.place.wires)
    }

    fn is_started(&self) -> bool {
        self.status & status::DRIVER_OK != 0
    }

    fn set_status(&mut self, wanted: u32) -> Result<(), DeviceError> {
        match step(self.status, wanted) {
            Some(Step::Reset) => self.reset()?,
            Some(Step::Note) => self.status = wanted,
            // Whatever else is written with it has not happened.
            Some(Step::GiveUp) => self.status |= status::FAILED,
            Some(Step::Agree) => self.agree()?,
            Some(Step::Start) => self.start()?,
            None => self.complain(format_args!(
                "wrote status {wanted:#x} over {:#x}",
                self.status
            )),
        }
        self.place.window.set(register::STATUS, self.status);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), DeviceError> {
        if self.is_started() {
            self.device.stop()?;
            // What the driver wrote into it is not the next one's.
            self.show_config();
        }
        self.status = 0;
        self.accepted = 0;
        self.queues.iter_mut().for_each(QueueSetup::reset);
        self.show_queue();
        self.place.window.set(register::INTERRUPT_STATUS, 0);
        Ok(())
    }

    /// Drivers have to accept version 1 (virtio 1.2, section 6.1), and nothing
    /// that was not offered.
    fn agree(&mut self) -> Result<(), DeviceError> {
        let offered = self.offered()?;
        let version_1 = self.accepted >> VIRTIO_F_VERSION_1 & 1 == 1;
        if self.accepted & !offered == 0 && version_1 {
            self.status |= status::FEATURES_OK;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), DeviceError> {
        let queues = match self.ready_queues() {
            Ok(queues) => queues,
            Err(error) => {
                self.complain(format_args!("set up a {error}"));
                self.needs_reset();
                return Ok(());
            }
        };
        self.status |= status::DRIVER_OK;
        let window = &self.place.window;
        window.set(register::INTERRUPT_STATUS, register::USED_BUFFER);
        self.device.start(Start {
            features: self.accepted,
            queues,
            memory: self.place.memory.clone(),
            interrupt: self.interrupt(),
            sources: self.place.events.sources(self.place.slot),
        })
    }

    fn ready_queues(&self) -> Result<Vec<Option<ReadyQueue>>, QueueError> {
        let event_idx = self.accepted >> VIRTIO_RING_F_EVENT_IDX & 1 == 1;
        let kicks = &self.place.wires.kicks;
        let queues = self.queues.iter().zip(kicks).enumerate();
        let built = queues.map(|(index, (setup, kick))| {
            if !setup.ready {
                return Ok(None);
            }
            let queue = setup.build(index, &self.place.memory, event_idx)?;
            let kick = Arc::clone(kick);
            Ok(Some(ReadyQueue { queue, kick }))
        });
        built.collect()
    }

    fn offered(&mut self) -> Result<u64, DeviceError> {
        if let Some(offered) = self.offered {
            return Ok(offered);
        }
        let offered = self.device.features()? | 1 << VIRTIO_F_VERSION_1;
        self.offered = Some(offered);
        Ok(offered)
    }

    fn show_features(&mut self, half: u32) -> Result<(), DeviceError> {
        self.device_features_half = half;
        let shown = half_of(self.offered()?, half);
        self.place.window.set(register::DEVICE_FEATURES, shown);
        Ok(())
    }

    fn accept_features(&mut self, bits: u32) {
        // Settled once agreed on.
        if self.status & (status::FEATURES_OK | status::DRIVER) != status::DRIVER {
            return;
        }
        let bits = u64::from(bits);
        match self.driver_features_half {
            0 => self.accepted = self.accepted & !0xffff_ffff | bits,
            1 => self.accepted = self.accepted & 0xffff_ffff | bits << 32,
            // Nothing above bit 63 is ever offered.
            _ => {}
        }
    }

    /// The selected queue's registers.
    fn show_queue(&self) {
        let queue = usize::try_from(self.selected)
            .ok()
            .and_then(|index| self.queues.get(index));
        let (most, ready) = queue.map_or((0, false), |queue| (queue.most(), queue.ready));
        let window = &self.place.window;
        window.set(register::QUEUE_NUM_MAX, u32::from(most));
        window.set(register::QUEUE_READY, u32::from(ready));
    }

    /// Changes the selected queue, if it is there and not in use.
    fn set_up(&mut self, change: impl FnOnce(&mut QueueSetup)) {
        if self.is_started() {
            return;
        }
        let index = usize::try_from(self.selected).unwrap_or(usize::MAX);
        if let Some(queue) = self.queues.get_mut(index) {
            change(queue);
        }
    }

    fn set_address(&mut self, part: Part, half: Half, value: u32) {
        self.set_up(|queue| queue.set_address(part, half, value));
    }

    /// KVM does this by itself, for queues that are there.
    fn notify(&self, index: u32) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(kick) = self.place.wires.kicks.get(index) {
            // Full only if nobody has read it 2^64 times.
            let _ = kick.write(1);
        }
    }

    fn acknowledge(&mut self, bits: u32) {
        if bits & register::CONFIG_CHANGE != 0 && self.is_started() {
            let window = &self.place.window;
            window.set(register::INTERRUPT_STATUS, register::USED_BUFFER);
        }
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        self.device.write_config(offset, bytes);
        self.place.window.set_config(&self.device.config());
    }

    /// The generation changes with the configuration, so that a driver that
    /// reads it in parts notices; the interrupt makes it read again anyway.
    fn config_changed(&mut self) {
        self.show_config();
        self.interrupt_for_config();
    }

    fn show_config(&mut self) {
        let window = &self.place.window;
        window.set_config(&self.device.config());
        self.generation = self.generation.wrapping_add(1);
        window.set(register::CONFIG_GENERATION, self.generation);
    }

    fn needs_reset(&mut self) {
        self.status |= status::NEEDS_RESET;
        self.place.window.set(register::STATUS, self.status);
        self.interrupt_for_config();
    }

    fn interrupt_for_config(&self) {
        if self.is_started() {
            let bits = register::USED_BUFFER | register::CONFIG_CHANGE;
            self.place.window.set(register::INTERRUPT_STATUS, bits);
            self.interrupt().notify();
        }
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::new(Arc::clone(&self.place.wires.call))
    }

    fn complain(&self, what: std::fmt::Arguments<'_>) {
        complaints::write(format_args!(
            "driver of the {} device {what}",
            self.device.name()
        ));
    }
}

#[allow(clippy::cast_possible_truncation)] // Halves are what is wanted.
fn half_of(bits: u64, half: u32) -> u32 {
    match half {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
