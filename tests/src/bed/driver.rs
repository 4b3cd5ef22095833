//! Which driver runs the VMs of a bed.

/// What the bed's shim has for `driver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// QEMU, whatever the host has.
    Qemu,
    /// The shim's own choice: the built-in VMM where KVM has hardware.
    Auto,
}

impl Driver {
    /// Its name in the shim's configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Auto => "auto",
        }
    }
}
