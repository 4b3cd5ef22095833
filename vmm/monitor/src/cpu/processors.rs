//! The processors that run, and how they become more or fewer.
//!
//! Processor `n` is made when it is first wanted, and its thread ends when it
//! is not: a machine has as many threads as processors run. KVM cannot unmake
//! one, nor make it twice, so that its descriptor waits for the next time
//! (docs/decisions/0020-processors-come-late.md).

use kvm_ioctls::VmFd;
use vm_memory::GuestMemoryMmap;

use super::cpuid::Template;
use super::gate::Wanted;
use super::thread::{NotStarted, Surroundings, Thread, ThreadError};
use super::vcpu::{Blank, Unprepared, Vcpu, VcpuError};

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
    idle: Vec<Idle>,
}

/// A processor without a thread.
enum Idle {
    /// That could run.
    Ready(Vcpu),
    /// That could not be told what it can do.
    Blank(Blank),
}

impl Idle {
    fn id(&self) -> u8 {
        match self {
            Self::Ready(vcpu) => vcpu.id,
            Self::Blank(blank) => blank.id,
        }
    }
}

/// The processor as it stopped, or a new one. One that cannot be had now stays
/// among the idle ones, for KVM makes no other of its number.
fn obtain(idle: &mut Vec<Idle>, vm: &VmFd, mould: &Mould, id: u8) -> Result<Vcpu, VcpuError> {
    let blank = match idle.pop_if(|idle| idle.id() == id) {
        Some(Idle::Ready(vcpu)) => return Ok(vcpu),
        Some(Idle::Blank(blank)) => blank,
        None => Blank::new(vm, id, &mould.memory)?,
    };
    let prepared = blank.prepare_late(&mould.template);
    prepared.map_err(|Unprepared { blank, why }| {
        idle.push(Idle::Blank(blank));
        why
    })
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
                self.idle.extend(vcpu.map(Idle::Ready));
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
            let vcpu = obtain(&mut self.idle, vm, &self.mould, id)
                .map_err(|source| ResizeError::Make { id, source })?;
            Ok(self.run(vcpu)?)
        })
    }

    fn stop_after(&mut self, count: u8) {
        let kept = self.threads.len().min(count.into());
        for thread in self.threads.split_off(kept).into_iter().rev() {
            thread.kick();
            self.idle.extend(thread.join().map(Idle::Ready));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;
    use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
    use kvm_ioctls::Kvm;

    /// KVM makes a processor and takes no list that is too long; it makes none of
    /// that number again.
    #[test]
    fn a_processor_that_could_not_be_prepared_is_had_later() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("not tried: there is no /dev/kvm");
            return;
        };
        let vm = kvm.create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        let good = Template::new(&supported, 3);
        let mut mould = Mould {
            template: good.clone().too_long(),
            memory: ram::allocate(64).unwrap(),
            most: 3,
        };
        let mut idle = Vec::new();
        for _ in 0..2 {
            let refused = obtain(&mut idle, &vm, &mould, 1).err().unwrap();
            assert!(matches!(refused, VcpuError::List(_)), "{refused}");
            assert_eq!(idle.len(), 1);
        }
        mould.template = good;
        for id in [1, 2] {
            assert_eq!(obtain(&mut idle, &vm, &mould, id).unwrap().id, id);
        }
        assert!(idle.is_empty());
    }
}
