//! Runs cases the way `cargo test` runs tests: the same arguments, the same
//! output. Each case finds a clean bed and must leave a clean bed.

mod case;
mod figures;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use crate::bed::{Handler, Packages, Product, Version};
use crate::{cases, isolation};
pub(crate) use case::cases;
pub use case::{Case, Needs};
pub use figures::figure;
use run::Runner;

/// The whole test executable: all cases on one version of containerd.
pub fn main(version: Version) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One bed: what a case leaves can be told only when no other one runs.
    arguments.test_threads = Some(1);
    match serve(version, &arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{version}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(version: Version, arguments: &Arguments) -> Result<ExitCode> {
    let handler = Handler::from_env()?;
    if arguments.list || !any_selected(arguments, handler) {
        return Ok(libtest_mimic::run(arguments, trials(handler, None)).exit_code());
    }
    let prepare = || {
        if handler == Handler::KataMshv {
            Product::find()?.check()?;
        }
        Packages::fetch(version, |step| eprintln!("{version}: {step}"))?;
        eprintln!("\n{version}, handler {}", handler.name());
        Ok(())
    };
    isolation::run(prepare, |folder| {
        inside(folder, version, handler, arguments)
    })
}

fn inside(
    folder: PathBuf,
    version: Version,
    handler: Handler,
    arguments: &Arguments,
) -> Result<ExitCode> {
    let runner = Arc::new(Mutex::new(Runner::new(folder, version, handler)?));
    let conclusion = libtest_mimic::run(arguments, trials(handler, Some(&runner)));
    figures::print();
    Ok(conclusion.exit_code())
}

/// Every case as a test; without a runner they can only be listed.
fn trials(handler: Handler, runner: Option<&Arc<Mutex<Runner>>>) -> Vec<Trial> {
    let trial = |case: &'static Case| {
        let runner = runner.cloned();
        Trial::test(case.name(), move || match runner {
            Some(runner) => run::in_bed(&runner, case),
            None => Err("no bed was made for this case".into()),
        })
        .with_ignored_flag(!case.holds_for(handler))
    };
    cases::all().map(trial).collect()
}

/// As libtest: filters are substrings unless `--exact`.
fn any_selected(arguments: &Arguments, handler: Handler) -> bool {
    let matches = |name: &str, filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    cases::all()
        .filter(|case| case.holds_for(handler) || arguments.include_ignored || arguments.ignored)
        .map(Case::name)
        .filter(|name| {
            arguments
                .filter
                .as_ref()
                .is_none_or(|filter| matches(name, filter))
        })
        .any(|name| !arguments.skip.iter().any(|filter| matches(&name, filter)))
}
