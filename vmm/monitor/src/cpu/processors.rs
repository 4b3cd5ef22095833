//! The processors that run, and how they become more or fewer.
//!
//! Processor `n` is made when it is first wanted, and its thread ends when it
//! is not: a machine has as many threads as processors run. KVM cannot unmake
//! one, so that its descriptor waits for the next time
//! (docs/decisions/0020-processors-come-late.md).

use kvm_ioctls::VmFd;
use vm_memory::GuestMemoryMmap;

use super::cpuid::Template;
use super::gate::Wanted;
use super::thread::{NotStarted, Surroundings, Thread, ThreadError};
use super::vcpu::{Vcpu, VcpuError};

/// The number of processors stays, or is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// More than the guest was told of at its start, or none.
    #[error("{wanted} processors: this machine can have 1 to {most}")]
    Count {
        /// As asked for.
        wanted: u32,
        /// What the guest was told of.
        most: u8,
    },
    /// KVM makes none.
    #[error("make processor {id}")]
    Make {
        /// Which.
        id: u8,
        /// Why.
        #[source]
        source: VcpuError,
    },
    /// It cannot run.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// What new processors are made of.
pub struct Mould {
    /// What they are told that they can do.
    pub template: Template,
    /// What they reach.
    pub memory: GuestMemoryMmap,
    /// Most processors that there can be.
    pub most: u8,
}

/// All processors of a machine that runs.
pub struct Processors {
    mould: Mould,
    around: Surroundings,
    /// That of processor `n` is at `n`.
    threads: Vec<Thread>,
    /// Made before, and not wanted now: the highest number first.
    idle: Vec<Vcpu>,
}

impl Processors {
    /// Runs `vcpus`, the first ones in their order.
    ///
    /// # Errors
    /// When they cannot have threads.
    pub fn start(
        vcpus: Vec<Vcpu>,
        mould: Mould,
        around: Surroundings,
    ) -> Result<Self, ThreadError> {
        Thread::prepare()?;
        let mut processors = Self {
            mould,
            around,
            threads: Vec::new(),
            idle: Vec::new(),
        };
        for vcpu in vcpus {
            processors.run(vcpu)?;
        }
        Ok(processors)
    }

    fn run(&mut self, vcpu: Vcpu) -> Result<(), ThreadError> {
        match Thread::start(vcpu, self.around.clone()) {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(NotStarted { vcpu, why }) => {
                self.idle.extend(vcpu);
                Err(why)
            }
        }
    }

    /// How many run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has `wanted` of them run. The guest has taken those offline that stop;
    /// one that it still uses stands still in the middle of what it does.
    ///
    /// # Errors
    /// See [`ResizeError`]. Those that could be made run.
    pub fn resize(&mut self, vm: &VmFd, wanted: u32) -> Result<(), ResizeError> {
        let most = self.mould.most;
        let count = u8::try_from(wanted)
            .ok()
            .filter(|count| (1..=most).contains(count))
            .ok_or(ResizeError::Count { wanted, most })?;
        self.around.gate.keep(count);
        self.stop_after(count);
        let running = u8::try_from(self.count()).unwrap_or(u8::MAX);
        (running..count).try_for_each(|id| {
            let vcpu = self.obtain(vm, id)?;
            Ok(self.run(vcpu)?)
        })
    }

    fn stop_after(&mut self, count: u8) {
        let kept = self.threads.len().min(count.into());
        for thread in self.threads.split_off(kept).into_iter().rev() {
            thread.kick();
            self.idle.extend(thread.join());
        }
    }

    /// The processor as it stopped, or a new one.
    fn obtain(&mut self, vm: &VmFd, id: u8) -> Result<Vcpu, ResizeError> {
        let Mould {
            template, memory, ..
        } = &self.mould;
        match self.idle.pop_if(|vcpu| vcpu.id == id) {
            Some(vcpu) => Ok(vcpu),
            None => Vcpu::new(vm, id, template, memory)
                .and_then(|vcpu| vcpu.join().map(|()| vcpu))
                .map_err(|source| ResizeError::Make { id, source }),
        }
    }

    /// Gets them all out of the guest, to look at their gate.
    pub fn kick(&self) {
        self.threads.iter().for_each(Thread::kick);
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        self.around.gate.tell(Wanted::End);
        self.kick();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}
