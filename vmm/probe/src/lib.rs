//! Whether this host has a usable hypervisor.
//!
//! That `/dev/kvm` exists says little: in a virtual machine it may create
//! machines and processors and yet have nothing but the host kernel's
//! instruction emulator to run them, which no operating system survives. So a
//! machine of one page is run for three instructions, and what it leaves behind
//! tells ([`trial`]).
//!
//! ```text
//! open ─ API version ─ capabilities ─ trial ─ report
//! ```
//!
//! It runs at the start of each pod, takes about as long as starting a process,
//! needs no more memory than that page, and leaves nothing behind.

mod capabilities;
mod trial;
mod tsc;
mod verdict;

use std::fs::OpenOptions;
use std::path::Path;

use kvm_ioctls::{Cap, Kvm};

pub use tsc::Tsc;
pub use verdict::{NoKvm, Sign};

/// The only version of the KVM API that there will be
/// (Documentation/virt/kvm/api.rst, section 4.1).
const API_VERSION: i32 = 12;

/// What a usable KVM offers beyond what is required of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvmReport {
    /// Frequency of the guests' time stamp counter in kHz, if the kernel knows.
    pub tsc_khz: Option<u32>,
    /// Whether a guest may be given another frequency than the host's.
    pub tsc_scaling: bool,
    /// Most processors that one machine can have.
    pub max_vcpus: usize,
}

/// Whether `/dev/kvm` can run an operating system.
///
/// # Errors
///
/// The reason why not, in one sentence, with what to do about it.
pub fn kvm() -> Result<KvmReport, NoKvm> {
    let kvm = Kvm::new().map_err(NoKvm::from_open)?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(NoKvm::ApiVersion { version });
    }
    capabilities::first_missing(|capability| kvm.check_extension(capability))?;
    let vm = kvm.create_vm().map_err(NoKvm::step("create a machine"))?;
    let trial = trial::run(vm)?;
    trial::judge(trial.ending)?;
    Ok(KvmReport {
        tsc_khz: trial.tsc_khz,
        tsc_scaling: kvm.check_extension(Cap::TscControl),
        max_vcpus: kvm.get_max_vcpus(),
    })
}

/// Whether the Microsoft hypervisor's `/dev/mshv` can be opened.
#[must_use]
pub fn mshv() -> bool {
    can_open("/dev/mshv")
}

/// Whether the kernel's network back end `/dev/vhost-net` can be opened.
#[must_use]
pub fn vhost_net() -> bool {
    can_open("/dev/vhost-net")
}

/// Whether the kernel's vsock back end `/dev/vhost-vsock` can be opened.
#[must_use]
pub fn vhost_vsock() -> bool {
    can_open("/dev/vhost-vsock")
}

fn can_open(path: impl AsRef<Path>) -> bool {
    OpenOptions::new().read(true).write(true).open(path).is_ok()
}
