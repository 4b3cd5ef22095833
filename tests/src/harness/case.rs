//! What a case is, and how a file of cases lists its own.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use super::Feature;
use crate::bed::{Bed, Driver, Setup, Version};

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Something that any runtime does.
    AnyRuntime,
    /// Something that only a pod in a VM has.
    Vm,
    /// Something of QEMU as the driver.
    Qemu,
    /// Something of the built-in VMM as the driver.
    BuiltIn,
    /// Something that containerd has from 2.x on.
    Containerd2,
    /// Something of containerd's Sandbox API.
    SandboxApi,
    /// Pods with a user namespace, in a VM or not: containerd 1.7 cannot map the ids
    /// of volumes, and makes such a pod's network only when the pod is there.
    UserNamespaces,
}

/// One thing to be shown.
pub struct Case {
    /// Module and function: `e2e::cases::ctr::exec`.
    pub path: &'static str,
    /// Which handlers it holds for.
    pub needs: Needs,
    /// What the kernel has to have beside what every host's has.
    pub kernel: Option<Feature>,
    /// Shows it, or tells what is different.
    pub run: for<'a> fn(&'a Bed) -> LocalBoxFuture<'a, Result<()>>,
}

impl Case {
    /// Its name for people: `ctr::exec`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.split_once("cases::").map(|(_, name)| name);
        name.unwrap_or(self.path).to_owned()
    }

    /// Whether it can pass in a bed of `setup`.
    #[must_use]
    pub fn holds_for(&self, setup: Setup) -> bool {
        let (vm, driver) = (setup.handler.is_vm(), setup.driver);
        match self.needs {
            Needs::AnyRuntime => true,
            Needs::Vm => vm,
            Needs::Qemu => vm && driver == Driver::Qemu,
            Needs::BuiltIn => vm && driver == Driver::Auto,
            Needs::Containerd2 => setup.version == Version::V2,
            Needs::SandboxApi => vm && setup.version == Version::V2,
            Needs::UserNamespaces => setup.version == Version::V2,
        }
    }
}

/// The cases of a file: `cases![any: a, b; vm with Macvlan: c]`, functions of the form
/// `async fn(&Bed) -> anyhow::Result<()>`, below what they need.
macro_rules! cases {
    (@needs any) => { $crate::harness::Needs::AnyRuntime };
    (@needs vm) => { $crate::harness::Needs::Vm };
    (@needs qemu) => { $crate::harness::Needs::Qemu };
    (@needs containerd_2) => { $crate::harness::Needs::Containerd2 };
    (@needs sandbox_api) => { $crate::harness::Needs::SandboxApi };
    (@needs user_namespaces) => { $crate::harness::Needs::UserNamespaces };
    (@needs built_in) => { $crate::harness::Needs::BuiltIn };
    (@part $needs:expr, $kernel:expr, $($function:ident),*) => {
        &[$($crate::harness::Case {
            path: concat!(module_path!(), "::", stringify!($function)),
            needs: $needs,
            kernel: $kernel,
            run: |bed| Box::pin($function(bed)),
        }),*]
    };
    (@kernel) => { None };
    (@kernel $feature:ident) => { Some($crate::harness::Feature::$feature) };
    ($($needs:ident $(with $feature:ident)?: $($function:ident),*);* $(;)?) => {
        /// What this file shows.
        pub(super) const CASES: &[&[$crate::harness::Case]] = &[
            $($crate::harness::cases!(
                @part $crate::harness::cases!(@needs $needs),
                $crate::harness::cases!(@kernel $($feature)?),
                $($function),*
            )),*
        ];
    };
}
pub(crate) use cases;
