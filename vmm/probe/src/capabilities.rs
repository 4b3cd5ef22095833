//! What is asked of KVM, and what for.

use kvm_ioctls::Cap;

use crate::NoKvm;

/// A capability: its name in `linux/kvm.h`, and what would not work without.
struct Required {
    capability: Cap,
    name: &'static str,
    purpose: &'static str,
}

const fn required(capability: Cap, name: &'static str, purpose: &'static str) -> Required {
    Required {
        capability,
        name,
        purpose,
    }
}

const REQUIRED: &[Required] = &[
    required(
        Cap::UserMemory,
        "KVM_CAP_USER_MEMORY",
        "giving a guest its memory",
    ),
    required(
        Cap::SetTssAddr,
        "KVM_CAP_SET_TSS_ADDR",
        "running real mode on Intel processors",
    ),
    required(
        Cap::ExtCpuid,
        "KVM_CAP_EXT_CPUID",
        "telling a guest which processor it has",
    ),
    required(
        Cap::Irqchip,
        "KVM_CAP_IRQCHIP",
        "delivering interrupts without leaving the kernel",
    ),
    required(
        Cap::Irqfd,
        "KVM_CAP_IRQFD",
        "interrupts from device processes, which do not pass the VMM",
    ),
    required(
        Cap::Ioeventfd,
        "KVM_CAP_IOEVENTFD",
        "kicks to device processes, which do not pass the VMM",
    ),
    required(
        Cap::ImmediateExit,
        "KVM_CAP_IMMEDIATE_EXIT",
        "stopping a processor without a race",
    ),
    required(
        Cap::GetTscKhz,
        "KVM_CAP_GET_TSC_KHZ",
        "telling a guest its clock's frequency, which it cannot measure on a busy host",
    ),
];

/// Asks `has` for each required capability.
pub(crate) fn first_missing(has: impl Fn(Cap) -> bool) -> Result<(), NoKvm> {
    match REQUIRED.iter().find(|required| !has(required.capability)) {
        None => Ok(()),
        Some(missing) => Err(NoKvm::MissingCapability {
            name: missing.name,
            purpose: missing.purpose,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_everything_passes() {
        assert!(first_missing(|_| true).is_ok());
    }

    #[test]
    fn the_missing_one_is_named() {
        let error = first_missing(|capability| !matches!(capability, Cap::Irqfd)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("KVM_CAP_IRQFD"), "{text}");
        assert!(text.contains("interrupts from device processes"), "{text}");
    }
}
