//! Why KVM cannot be used, in a sentence that says what to do.

use std::fmt;
use std::io;

/// `/dev/kvm` cannot run an operating system.
#[derive(Debug, thiserror::Error)]
pub enum NoKvm {
    /// No device, or no driver behind it.
    #[error(
        "there is no /dev/kvm: enable virtualization in the firmware (or nested virtualization \
         in the host of this machine) and load kvm_intel or kvm_amd"
    )]
    NoDevice,

    /// This user may not.
    #[error("/dev/kvm may not be opened: run as root or as a member of the group that owns it")]
    NoAccess,

    /// The device creates machines, but cannot run them on the processor.
    #[error(
        "/dev/kvm has no hardware behind it ({sign}): enable nested virtualization in the host \
         of this machine, or let QEMU emulate (driver = \"qemu\", accel = \"tcg\")"
    )]
    NoHardware {
        /// What gave it away.
        sign: Sign,
    },

    /// A kernel without something that is needed.
    #[error("/dev/kvm lacks {name}, needed for {purpose}: run a newer kernel on this host")]
    MissingCapability {
        /// Its name in `linux/kvm.h`.
        name: &'static str,
        /// What would not work.
        purpose: &'static str,
    },

    /// Something that is not Linux's KVM.
    #[error(
        "/dev/kvm speaks version {version} of its interface instead of 12: run Linux's own KVM"
    )]
    ApiVersion {
        /// What it answered.
        version: i32,
    },

    /// A step that fails on no sound host, unless another hypervisor has the
    /// processor or there is no memory.
    #[error(
        "/dev/kvm failed to {step} ({source}): end other hypervisors on this host, and look at \
         its kernel log"
    )]
    Failed {
        /// What was attempted.
        step: &'static str,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },
}

/// What a machine without hardware does to the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The kernel's emulator met an instruction that it does not know.
    Emulated,
    /// The instructions ran and left something else than they should.
    WrongResult {
        /// What was in the guest's memory; 3 is right.
        found: u16,
    },
    /// The processor took an exception.
    Exception,
    /// The processor could not be entered, or left in a way that it should not.
    Exit,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emulated => write!(f, "the kernel's emulator was at work, and gave up"),
            Self::WrongResult { found } => write!(f, "a guest calculated {found} instead of 3"),
            Self::Exception => write!(f, "a guest took an exception at a common instruction"),
            Self::Exit => write!(f, "a guest left for a reason that it did not give"),
        }
    }
}

// open(2): the node is missing, or has no driver.
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const EPERM: i32 = 1;
const EACCES: i32 = 13;

impl NoKvm {
    pub(crate) fn from_open(error: kvm_ioctls::Error) -> Self {
        match error.errno() {
            ENOENT | ENXIO | ENODEV => Self::NoDevice,
            EPERM | EACCES => Self::NoAccess,
            _ => Self::step("open")(error),
        }
    }

    pub(crate) fn step(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |error| Self::Failed {
            step,
            source: io::Error::from_raw_os_error(error.errno()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(errno: i32) -> NoKvm {
        NoKvm::from_open(kvm_ioctls::Error::new(errno))
    }

    #[test]
    fn errors_of_open_are_told_apart() {
        assert!(matches!(opened(ENOENT), NoKvm::NoDevice));
        assert!(matches!(opened(ENODEV), NoKvm::NoDevice));
        assert!(matches!(opened(EACCES), NoKvm::NoAccess));
        assert!(matches!(opened(24), NoKvm::Failed { step: "open", .. }));
    }

    #[test]
    fn each_text_is_one_line_that_says_what_to_do() {
        let sign = Sign::WrongResult { found: 7 };
        let failed = NoKvm::step("create a machine")(kvm_ioctls::Error::new(16));
        for (verdict, advice) in [
            (NoKvm::NoDevice, "load kvm_intel or kvm_amd"),
            (NoKvm::NoAccess, "run as root"),
            (NoKvm::NoHardware { sign }, "calculated 7"),
            (NoKvm::NoHardware { sign }, "nested virtualization"),
            (NoKvm::ApiVersion { version: 13 }, "version 13"),
            (failed, "end other hypervisors"),
        ] {
            let text = verdict.to_string();
            assert!(text.contains(advice), "{text}");
            assert!(text.contains("/dev/kvm") && !text.contains('\n'), "{text}");
        }
    }
}
