//! A processor that runs: a thread of its own that enters the guest and
//! handles what it comes out for.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::pthread::pthread_kill;

use super::gate::Gate;
use super::kick::{self, Kickable};
use super::vcpu::Vcpu;
use crate::error;
use crate::exits::{Exits, Next};
use crate::jail::Filter;
use crate::over::Over;
use vmm_api::StopReason;

/// Most that handling an exit takes, with room to spare.
const STACK: usize = 128 << 10;

/// A processor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// No signal to stop it by.
    #[error("handle the signal that stops processors")]
    Signal(#[source] Errno),
    /// No thread.
    #[error("start the thread of processor {id}")]
    Spawn {
        /// Which processor.
        id: u8,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A processor without a thread. KVM makes none of that number again.
pub struct NotStarted {
    /// As it was.
    pub vcpu: Option<Vcpu>,
    /// Why.
    pub why: ThreadError,
}

/// A running processor.
pub struct Thread(JoinHandle<Option<Vcpu>>);

/// What a processor works with.
#[derive(Clone)]
pub struct Surroundings {
    /// Tells it to wait or to end.
    pub gate: Arc<Gate>,
    /// Handles what it leaves the guest for.
    pub exits: Arc<Exits>,
    /// Where it says that the machine is over.
    pub over: Arc<Over>,
    /// What it may ask of the kernel.
    pub filter: Arc<Filter>,
}

impl Thread {
    /// Makes sure that [`Self::kick`] works. Once, before the first thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn prepare() -> Result<(), ThreadError> {
        kick::install().map_err(ThreadError::Signal)
    }

    /// Runs `vcpu` from now on.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(vcpu: Vcpu, around: Surroundings) -> Result<Self, NotStarted> {
        let id = vcpu.id;
        // What a thread is given is lost with one that does not start.
        let place = Arc::new(Mutex::new(Some(vcpu)));
        let taken = Arc::clone(&place);
        let started = std::thread::Builder::new()
            .name(format!("vcpu{id}"))
            .stack_size(STACK)
            .spawn(move || take(&taken).map(|vcpu| confined(vcpu, &around)));
        started.map(Self).map_err(|source| NotStarted {
            vcpu: take(&place),
            why: ThreadError::Spawn { id, source },
        })
    }

    /// Gets it out of the guest, to look at its gate.
    pub fn kick(&self) {
        // Fails only for a thread that has ended.
        let _ = pthread_kill(self.0.as_pthread_t(), kick::SIGNAL);
    }

    /// Waits for its end, and returns the processor as it left it.
    pub fn join(self) -> Option<Vcpu> {
        // A panic has been reported by the thread itself.
        self.0.join().ok().flatten()
    }
}

fn take(place: &Mutex<Option<Vcpu>>) -> Option<Vcpu> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn confined(mut vcpu: Vcpu, around: &Surroundings) -> Vcpu {
    let _passer = around.gate.passer(vcpu.id);
    match around.filter.apply() {
        Ok(()) => run(&mut vcpu, around),
        Err(why) => {
            let what = error::chain(&why);
            around.over.declare(StopReason::Failed { what });
        }
    }
    vcpu
}

fn run(vcpu: &mut Vcpu, around: &Surroundings) {
    let id = vcpu.id;
    let mut processor = Kickable::new(&mut vcpu.fd);
    while around.gate.pass(id) {
        let next = match processor.vcpu().run() {
            Ok(exit) => around.exits.handle(exit),
            Err(error) => match Errno::from_raw(error.errno()) {
                Errno::EINTR | Errno::EAGAIN => {
                    processor.clear();
                    Next::Enter
                }
                errno => Next::End(StopReason::Failed {
                    what: format!("enter the guest on processor {id}: {errno}"),
                }),
            },
        };
        if let Next::End(reason) = next {
            around.over.declare(reason);
            break;
        }
    }
}
