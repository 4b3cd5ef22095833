//! All devices, where they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::GuestMemoryMmap;
use vm_memory::mmap::MmapRegionError;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::device::{Device, DeviceError};
use super::register;
use super::slot::Slot;
use super::transport::{Place, Transport, Wires};
use super::window::Windows;
use crate::events::Events;

/// A device that has no place.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There are too many.
    #[error("attach the {device} device: all {} slots have one", Slot::COUNT)]
    Full {
        /// Which.
        device: &'static str,
    },
    /// No descriptor for its kicks or interrupts.
    #[error("make an event descriptor for the {device} device")]
    Event {
        /// Which.
        device: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// KVM does not take one.
    #[error("connect the {what} of the {device} device")]
    Wire {
        /// Kick, interrupt or acknowledgement.
        what: &'static str,
        /// Which device.
        device: &'static str,
        /// Why.
        #[source]
        source: kvm_ioctls::Error,
    },
}

/// A device that stays.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// There is none.
    #[error("detach the device in {slot}: there is none", slot = .slot.name())]
    Empty {
        /// Where.
        slot: Slot,
    },
    /// The guest cannot do without it.
    #[error("detach the {device} device: it stays as long as the machine")]
    Permanent {
        /// Which.
        device: &'static str,
    },
    /// Its driver has not reset it.
    #[error("detach the {device} device: its driver in the guest has not let go of it")]
    InUse {
        /// Which.
        device: &'static str,
    },
    /// It cannot be stopped.
    #[error("stop the {device} device")]
    Stop {
        /// Which.
        device: &'static str,
        /// Why.
        #[source]
        source: DeviceError,
    },
    /// KVM does not let go of one.
    #[error("disconnect the {what} of the {device} device")]
    Wire {
        /// Kick, interrupt or acknowledgement.
        what: &'static str,
        /// Which device.
        device: &'static str,
        /// Why.
        #[source]
        source: kvm_ioctls::Error,
    },
}

/// A device that the machine cannot go on without.
#[derive(Debug, thiserror::Error)]
#[error("lost the {device} device")]
pub struct Lost {
    /// Which.
    pub device: &'static str,
    /// How.
    #[source]
    pub source: DeviceError,
}

/// All slots.
pub struct Slots {
    windows: Windows,
    places: Vec<Mutex<Option<Transport>>>,
    /// Takes what drivers write to acknowledge interrupts. Nobody reads it.
    sink: EventFd,
}

impl Slots {
    /// All empty.
    ///
    /// # Errors
    /// When there is no memory for their registers, or no descriptor.
    pub fn new() -> Result<Self, SlotsError> {
        Ok(Self {
            windows: Windows::new()?,
            places: Slot::all().map(|_| Mutex::new(None)).collect(),
            sink: event().map_err(SlotsError::Sink)?,
        })
    }

    /// What the guest reads.
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Puts `device` into the first empty slot.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(
        &self,
        device: Box<dyn Device>,
        vm: &VmFd,
        memory: &GuestMemoryMmap,
        events: &Events,
    ) -> Result<Slot, AttachError> {
        let name = device.name();
        let (slot, mut place) = self.vacant().ok_or(AttachError::Full { device: name })?;
        let wires = wires(device.as_ref())?;
        if let Err((what, source)) = self.connect(vm, slot, &wires) {
            // As far as it went; the rest was never there.
            let _ = self.disconnect(vm, slot, &wires);
            return Err(AttachError::Wire {
                what,
                device: name,
                source,
            });
        }
        *place = Some(Transport::new(
            device,
            Place {
                slot,
                window: self.windows.of(slot),
                wires,
                memory: memory.clone(),
                events: events.clone(),
            },
        ));
        Ok(slot)
    }

    fn vacant(&self) -> Option<(Slot, MutexGuard<'_, Option<Transport>>)> {
        Slot::all().find_map(|slot| {
            let place = self.lock(slot)?;
            place.is_none().then_some((slot, place))
        })
    }

    /// An exit saved for each kick, interrupt and acknowledgement.
    fn connect(&self, vm: &VmFd, slot: Slot, wires: &Wires) -> Result<(), WireError> {
        let notify = IoEventAddress::Mmio(slot.address() + register::QUEUE_NOTIFY);
        for (index, kick) in (0_u32..).zip(&wires.kicks) {
            vm.register_ioevent(kick, &notify, index)
                .map_err(|source| ("kick", source))?;
        }
        let acknowledge = IoEventAddress::Mmio(slot.address() + register::INTERRUPT_ACK);
        vm.register_ioevent(&self.sink, &acknowledge, register::USED_BUFFER)
            .map_err(|source| ("acknowledgement", source))?;
        vm.register_irqfd(&wires.call, slot.interrupt_line().into())
            .map_err(|source| ("interrupt", source))
    }

    /// All of them, whether or not one fails: the first failure is told.
    fn disconnect(&self, vm: &VmFd, slot: Slot, wires: &Wires) -> Result<(), WireError> {
        let interrupt = vm
            .unregister_irqfd(&wires.call, slot.interrupt_line().into())
            .map_err(|source| ("interrupt", source));
        let acknowledge = IoEventAddress::Mmio(slot.address() + register::INTERRUPT_ACK);
        let acknowledgement = vm
            .unregister_ioevent(&self.sink, &acknowledge, register::USED_BUFFER)
            .map_err(|source| ("acknowledgement", source));
        let notify = IoEventAddress::Mmio(slot.address() + register::QUEUE_NOTIFY);
        let kicks = (0_u32..).zip(&wires.kicks).map(|(index, kick)| {
            vm.unregister_ioevent(kick, &notify, index)
                .map_err(|source| ("kick", source))
        });
        let kicks = kicks.fold(Ok(()), Result::and);
        interrupt.and(acknowledgement).and(kicks)
    }

    /// Takes the device out of `slot`, if its driver has let go of it.
    ///
    /// # Errors
    /// See [`DetachError`].
    pub fn detach(&self, slot: Slot, vm: &VmFd) -> Result<(), DetachError> {
        let mut place = self.lock(slot).ok_or(DetachError::Empty { slot })?;
        let transport =
            place.take_if(|transport| transport.is_pluggable() && !transport.has_driver());
        let Some(transport) = transport else {
            return Err(why_it_stays(slot, place.as_ref()));
        };
        let device = transport.device_name();
        let wires = transport.remove();
        let wires = wires.map_err(|source| DetachError::Stop { device, source })?;
        self.disconnect(vm, slot, &wires)
            .map_err(|(what, source)| DetachError::Wire {
                what,
                device,
                source,
            })
    }

    /// The driver of the device at `address` writes `bytes`. An address without
    /// a device takes anything.
    ///
    /// # Errors
    /// When that ends a device.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Lost> {
        match Slot::at(address) {
            None => Ok(()),
            Some((slot, offset)) => self.with(slot, |device| device.write(offset, bytes)),
        }
    }

    /// A descriptor of the device in `slot` is ready.
    ///
    /// # Errors
    /// When that ends the device.
    pub fn serve(&self, slot: Slot, source: u16) -> Result<(), Lost> {
        self.with(slot, |device| device.serve(source))
    }

    /// The machine is paused: whatever serves its devices holds still. All of
    /// them, whether or not one fails: the first failure is told.
    ///
    /// # Errors
    /// When that ends a device.
    pub fn hold(&self) -> Result<(), Lost> {
        let held = Slot::all().map(|slot| self.with(slot, Transport::hold));
        held.fold(Ok(()), Result::and)
    }

    /// It is about to go on.
    ///
    /// # Errors
    /// When that ends a device.
    pub fn go_on(&self) -> Result<(), Lost> {
        let gone_on = Slot::all().map(|slot| self.with(slot, Transport::go_on));
        gone_on.fold(Ok(()), Result::and)
    }

    fn with(
        &self,
        slot: Slot,
        act: impl FnOnce(&mut Transport) -> Result<(), DeviceError>,
    ) -> Result<(), Lost> {
        let Some(mut place) = self.lock(slot) else {
            return Ok(());
        };
        let Some(transport) = place.as_mut() else {
            return Ok(());
        };
        act(transport).map_err(|source| Lost {
            device: transport.device_name(),
            source,
        })
    }

    fn lock(&self, slot: Slot) -> Option<MutexGuard<'_, Option<Transport>>> {
        let place = self.places.get(slot.number())?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// There are no slots.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// No memory for what the guest reads.
    #[error("map the device registers")]
    Windows(#[from] MmapRegionError),
    /// No descriptor for acknowledgements.
    #[error("make an event descriptor for interrupt acknowledgements")]
    Sink(#[source] std::io::Error),
}

/// What was attempted on, and why it failed.
type WireError = (&'static str, kvm_ioctls::Error);

fn why_it_stays(slot: Slot, transport: Option<&Transport>) -> DetachError {
    match transport {
        None => DetachError::Empty { slot },
        Some(transport) if transport.is_pluggable() => DetachError::InUse {
            device: transport.device_name(),
        },
        Some(transport) => DetachError::Permanent {
            device: transport.device_name(),
        },
    }
}

fn wires(device: &dyn Device) -> Result<Wires, AttachError> {
    let event = || {
        event().map(Arc::new).map_err(|source| AttachError::Event {
            device: device.name(),
            source,
        })
    };
    let kicks: Result<_, _> = device.queue_sizes().iter().map(|_| event()).collect();
    Ok(Wires {
        kicks: kicks?,
        call: event()?,
    })
}

fn event() -> std::io::Result<EventFd> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
}
