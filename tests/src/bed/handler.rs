//! Which runtime the cases run with.

use std::env;

use anyhow::{Context, Result};

/// Chooses the handler of a test run: `runc`, ours with the Sandbox API, or the
/// default, ours. Cases that
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
    /// The same without options, as a node has it: where its configuration is it
    /// learns from containerd's environment.
    WithoutOptions,
    /// The same, whose pods containerd 2.x describes by the Sandbox API.
    SandboxApi,
}

impl Handler {
    /// The one that the environment asks for.
    ///
    /// # Errors
    ///
    /// The variable names no handler.
    pub fn from_env() -> Result<Self> {
        let Ok(wanted) = env::var(VARIABLE) else {
            return Ok(Self::KataMshv);
        };
        let all = [
            Self::Runc,
            Self::KataMshv,
            Self::WithoutOptions,
            Self::SandboxApi,
        ];
        let found = all.into_iter().find(|handler| handler.name() == wanted);
        found.with_context(|| {
            let names = all.map(Self::name).join(", ");
            format!("{VARIABLE} is {wanted:?}: say one of {names}")
        })
    }

    /// It, or the same without options: containerd adds some of runc's to those of a
    /// container in a user namespace, and cannot to others.
    #[must_use]
    pub fn without_options(self) -> Self {
        match self {
            Self::KataMshv => Self::WithoutOptions,
            other => other,
        }
    }

    /// Whether its pods are in VMs.
    #[must_use]
    pub fn is_vm(self) -> bool {
        self != Self::Runc
    }

    /// Its name in containerd's configuration and in a RuntimeClass.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::KataMshv => "kata-mshv-vm-isolation",
            Self::WithoutOptions => "kata-mshv-without-options",
            Self::SandboxApi => "kata-mshv-sandbox-api",
        }
    }

    /// containerd's `runtime_type`, `ctr run --runtime`.
    #[must_use]
    pub fn runtime_type(self) -> &'static str {
        match self {
            Self::Runc => "io.containerd.runc.v2",
            Self::KataMshv | Self::WithoutOptions | Self::SandboxApi => {
                "io.containerd.kata-mshv-vm-isolation.v2"
            }
        }
    }
}
