//! A machine that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::os::fd::OwnedFd;

use kvm_ioctls::VmFd;
use vm_memory::GuestMemoryMmap;
use vmm_api::{Pluggable, Stats, StopReason};

use super::built::Built;
use super::growth::{AmountError, BalloonError, Growth};
use super::plug::{self, PlugError};
use super::state::{Action, State, StateError};
use crate::cpu::{Gate, Processors, ResizeError, Surroundings, ThreadError, Wanted};
use crate::error;
use crate::events::Events;
use crate::exits::Exits;
use crate::jail::{Filter, FilterError, Kind};
use crate::over::Over;
use crate::ports::Lost as LostWords;
use crate::virtio::Slot;
use crate::virtio::blk;
use crate::virtio::blk::engine::Engine;
use crate::virtio::slots::Lost;

/// A machine that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// One of its processors.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Its jail.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// A machine that runs. Dropped, it is over.
pub struct Running {
    state: State,
    gate: Arc<Gate>,
    processors: Processors,
    exits: Arc<Exits>,
    over: Arc<Over>,
    /// Device wiring needs it for as long as there are devices.
    vm: Arc<VmFd>,
    memory: GuestMemoryMmap,
    growth: Growth,
    disks: Engine,
    /// Of its consoles.
    lost: LostWords,
    events: Events,
}

impl Running {
    pub(super) fn start(built: Built) -> Result<Self, RunError> {
        let gate = Arc::new(Gate::default());
        // No instruction before the main thread is confined too.
        gate.tell(Wanted::Park);
        let around = Surroundings {
            gate: Arc::clone(&gate),
            exits: Arc::clone(&built.exits),
            over: Arc::clone(&built.over),
            filter: Arc::new(Filter::new(Kind::Vcpu)?),
        };
        Ok(Self {
            state: State::Paused,
            gate,
            processors: Processors::start(built.vcpus, built.mould, around)?,
            exits: built.exits,
            over: built.over,
            vm: built.vm,
            memory: built.memory,
            growth: built.growth,
            disks: built.disks,
            lost: built.lost,
            events: built.events,
        })
    }

    /// Whether it is held still.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is over, if it is.
    #[must_use]
    pub fn over(&self) -> Option<StopReason> {
        self.over.reason()
    }

    /// Serves a device.
    pub fn serve(&self, slot: Slot, source: u16) {
        self.note(self.exits.slots.serve(slot, source));
    }

    /// The machine is over with a device.
    fn note(&self, outcome: Result<(), Lost>) {
        if let Err(lost) = outcome {
            eprintln!("{}", error::chain(&lost));
            let device = lost.device.to_owned();
            self.over.declare(StopReason::DeviceLost { device });
        }
    }

    /// Serves the disks whose work was finished.
    pub fn serve_disks(&self) {
        match self.disks.ready() {
            Ok(slots) => slots
                .into_iter()
                .for_each(|slot| self.serve(slot, blk::FINISHED)),
            Err(error) => {
                eprintln!("{}", error::chain(&error));
                let device = "disk".to_owned();
                self.over.declare(StopReason::DeviceLost { device });
            }
        }
    }

    /// Puts a device into an empty slot. The slot's name in the guest.
    ///
    /// # Errors
    /// See [`PlugError`].
    pub fn attach(&self, what: &Pluggable, fds: Vec<OwnedFd>) -> Result<String, PlugError> {
        let device = plug::device(what, fds, &self.disks)?;
        let slots = &self.exits.slots;
        let slot = slots.attach(device, &self.vm, &self.memory, &self.events)?;
        Ok(slot.name())
    }

    /// Takes a device out of the slot of that name.
    ///
    /// # Errors
    /// See [`PlugError`].
    pub fn detach(&self, slot: &str) -> Result<(), PlugError> {
        Ok(self.exits.slots.detach(plug::slot(slot)?, &self.vm)?)
    }

    /// Holds it still: no processor is in the guest when this returns, and nobody
    /// touches its queues but the device processes.
    ///
    /// # Errors
    /// When it is paused already.
    pub fn pause(&mut self) -> Result<(), StateError> {
        self.state = self.state.after(Action::Pause)?;
        self.gate.tell(Wanted::Park);
        self.processors.kick();
        self.gate.all_parked(self.processors.count());
        self.note(self.exits.slots.hold());
        Ok(())
    }

    /// Has `vcpus` processors run, and so after it was paused.
    ///
    /// # Errors
    /// See [`ResizeError`].
    pub fn resize_vcpus(&mut self, vcpus: u32) -> Result<(), ResizeError> {
        self.processors.resize(&self.vm, vcpus)
    }

    /// Has the guest be told that it is to have `mib` MiB of memory. What it
    /// then has, [`Self::stats`] tell.
    ///
    /// # Errors
    /// When the machine cannot have as much or so little.
    pub fn resize_memory(&self, mib: u64) -> Result<(), AmountError> {
        self.growth.want(mib)
    }

    /// Has the guest be told that it is to give `mib` MiB of its memory. What it
    /// has given, [`Self::stats`] tell.
    ///
    /// # Errors
    /// When that would leave it too little.
    pub fn resize_balloon(&self, mib: u64) -> Result<(), BalloonError> {
        self.growth.want_back(mib)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is not paused.
    pub fn resume(&mut self) -> Result<(), StateError> {
        self.state = self.state.after(Action::Resume)?;
        self.note(self.exits.slots.go_on());
        self.gate.tell(Wanted::Run);
        Ok(())
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.flush_console();
        let counts = &self.exits.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            vcpus: u32::try_from(self.processors.count()).unwrap_or(u32::MAX),
            memory_mib: self.growth.memory_mib(),
            balloon_mib: self.growth.balloon_mib(),
            port_exits: read(&counts.port),
            register_exits: read(&counts.register),
            other_exits: read(&counts.other),
            console_lost: self.lost.bytes(),
        }
    }

    /// Writes out the last of its console.
    pub fn flush_console(&self) {
        self.exits.ports.flush();
    }
}
