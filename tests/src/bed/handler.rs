//! Which runtime the cases run with.

use std::env;

use anyhow::{Result, bail};

/// Chooses the handler of a test run: `runc` or the default, ours. Cases that
/// are not about virtual machines hold for both, which tells a broken case from
/// a broken product.
const VARIABLE: &str = "KATA_MSHV_E2E_HANDLER";

/// A runtime handler of the bed's containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Plain containers.
    Runc,
    /// A VM for each pod.
    KataMshv,
}

impl Handler {
    /// The one that the environment asks for.
    ///
    /// # Errors
    ///
    /// The variable names no handler.
    pub fn from_env() -> Result<Self> {
        match env::var(VARIABLE).as_deref() {
            Err(_) | Ok("kata-mshv-vm-isolation") => Ok(Self::KataMshv),
            Ok("runc") => Ok(Self::Runc),
            Ok(other) => bail!("{VARIABLE} is {other:?}: say runc or kata-mshv-vm-isolation"),
        }
    }

    /// Its name in containerd's configuration and in a RuntimeClass.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::KataMshv => "kata-mshv-vm-isolation",
        }
    }

    /// containerd's `runtime_type`, `ctr run --runtime`.
    #[must_use]
    pub fn runtime_type(self) -> &'static str {
        match self {
            Self::Runc => "io.containerd.runc.v2",
            Self::KataMshv => "io.containerd.kata-mshv-vm-isolation.v2",
        }
    }
}
