//! Which cases a run shows.

use std::env;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;

use super::Case;
use super::kernel::Kernel;
use crate::bed::Setup;
use crate::cases;

/// Set, it adds the cases that a slow place leaves out.
const ALL: &str = "KATA_MSHV_E2E_ALL";

/// What a run's cases have to fulfil; others are listed as ignored.
#[derive(Clone, Copy)]
pub(super) struct Selection {
    setup: Setup,
    kernel: Kernel,
    /// Names, or beginnings of names; all cases if there are none.
    chosen: Option<&'static [&'static str]>,
}

impl Selection {
    /// `chosen` is heeded where the environment does not ask for all.
    pub(super) fn new(
        setup: Setup,
        kernel: Kernel,
        chosen: Option<&'static [&'static str]>,
    ) -> Result<Self> {
        let every = || cases::all().map(Case::name);
        for name in chosen.unwrap_or_default() {
            let known = every().any(|case| case.starts_with(name));
            ensure!(known, "{name:?} is chosen, and is no case");
        }
        let chosen = chosen.filter(|_| env::var_os(ALL).is_none());
        Ok(Self {
            setup,
            kernel,
            chosen,
        })
    }

    pub(super) fn includes(&self, case: &Case) -> bool {
        let chosen = self.chosen.is_none_or(|names| {
            let name = case.name();
            names.iter().any(|chosen| name.starts_with(chosen))
        });
        chosen && case.holds_for(self.setup) && self.kernel.has(case.kernel)
    }

    /// Whether the command line leaves any. As libtest: filters are substrings
    /// unless `--exact`.
    pub(super) fn leaves_any(&self, arguments: &Arguments) -> bool {
        let matches = |name: &str, filter: &String| match arguments.exact {
            true => name == filter,
            false => name.contains(filter.as_str()),
        };
        let filtered = |name: &String| {
            let filter = arguments.filter.as_ref();
            filter.is_none_or(|filter| matches(name, filter))
        };
        cases::all()
            .filter(|case| self.includes(case) || arguments.include_ignored || arguments.ignored)
            .map(Case::name)
            .filter(filtered)
            .any(|name| !arguments.skip.iter().any(|filter| matches(&name, filter)))
    }
}
