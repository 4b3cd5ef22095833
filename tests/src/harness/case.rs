//! What a case is, and how a file of cases lists its own.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::bed::{Bed, Handler};

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Something that any runtime does.
    AnyRuntime,
    /// Something that only a pod in a VM has.
    Vm,
}

/// One thing to be shown.
pub struct Case {
    /// Module and function: `e2e::cases::ctr::exec`.
    pub path: &'static str,
    /// Which handlers it holds for.
    pub needs: Needs,
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

    /// Whether it can pass with `handler`.
    #[must_use]
    pub fn holds_for(&self, handler: Handler) -> bool {
        self.needs == Needs::AnyRuntime || handler == Handler::KataMshv
    }
}

/// The cases of a file: `cases![any: a, b; vm: c]`, functions of the form
/// `async fn(&Bed) -> anyhow::Result<()>`.
macro_rules! cases {
    (@list $needs:ident $($function:ident),*) => {
        [$($crate::harness::Case {
            path: concat!(module_path!(), "::", stringify!($function)),
            needs: $crate::harness::Needs::$needs,
            run: |bed| Box::pin($function(bed)),
        }),*]
    };
    (any: $($any:ident),* $(; vm: $($vm:ident),*)? $(,)?) => {
        /// What this file shows.
        pub(super) const CASES: &[&[$crate::harness::Case]] = &[
            &$crate::harness::cases!(@list AnyRuntime $($any),*),
            $(&$crate::harness::cases!(@list Vm $($vm),*),)?
        ];
    };
    (vm: $($vm:ident),* $(,)?) => {
        /// What this file shows.
        pub(super) const CASES: &[&[$crate::harness::Case]] =
            &[&$crate::harness::cases!(@list Vm $($vm),*)];
    };
}
pub(crate) use cases;
