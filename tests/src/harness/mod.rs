//! Runs cases the way `cargo test` runs tests: the same arguments, the same
//! output. Each case finds a clean bed and must leave a clean bed.

mod case;
mod figures;
mod in_lab;
mod kernel;
mod pace;
mod run;
mod selection;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use crate::bed::{Driver, Handler, Packages, Product, Setup, Version};
use crate::{cases, isolation};
pub(crate) use case::cases;
pub use case::{Case, Needs};
pub use figures::figure;
pub use kernel::Feature;
use kernel::Kernel;
pub use pace::patient;
use run::Runner;
use selection::Selection;

/// The whole test executable: cases on one version of containerd, with QEMU as the
/// driver; all of them, or only `chosen` ones (names or beginnings of them) unless the
/// environment asks for all.
pub fn main(version: Version, chosen: Option<&'static [&'static str]>) -> ExitCode {
    code(Handler::from_env().and_then(|handler| {
        let setup = Setup {
            version,
            handler,
            driver: Driver::Qemu,
        };
        serve(setup, chosen)
    }))
}

/// The whole test executable of cases on the built-in VMM: where KVM has
/// hardware, right here; elsewhere in a lab, where only `chosen` ones run (names
/// or beginnings of them) unless the environment asks for all.
pub fn main_built_in(chosen: &'static [&'static str]) -> ExitCode {
    lab::enter();
    let setup = Setup {
        version: Version::V2,
        handler: Handler::KataMshv,
        driver: Driver::Auto,
    };
    code(match (lab::inside(), lab::needed()) {
        (true, _) => serve(setup, Some(chosen)),
        (false, true) => in_lab::run(setup, chosen),
        (false, false) => serve(setup, None),
    })
}

fn code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("e2e: {error:#}");
        ExitCode::FAILURE
    })
}

/// One bed: what a case leaves can be told only when no other one runs.
fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    arguments
}

fn serve(setup: Setup, chosen: Option<&'static [&'static str]>) -> Result<ExitCode> {
    let arguments = arguments();
    let selection = Selection::new(setup, Kernel::Running, chosen)?;
    if arguments.list || !selection.leaves_any(&arguments) {
        return Ok(list(&arguments, selection));
    }
    isolation::run(
        || prepare(setup),
        |folder| inside(folder, setup, selection, &arguments),
    )
}

/// What has to be there before there is a bed.
fn prepare(setup: Setup) -> Result<()> {
    let Setup {
        version,
        handler,
        driver,
    } = setup;
    if handler.is_vm() {
        Product::find()?.check()?;
    }
    Packages::fetch(version, |step| eprintln!("{version}: {step}"))?;
    eprintln!(
        "\n{version}, handler {}, driver {}",
        handler.name(),
        driver.name()
    );
    Ok(())
}

fn list(arguments: &Arguments, selection: Selection) -> ExitCode {
    libtest_mimic::run(arguments, trials(selection, None)).exit_code()
}

fn inside(
    folder: PathBuf,
    setup: Setup,
    selection: Selection,
    arguments: &Arguments,
) -> Result<ExitCode> {
    let runner = Arc::new(Mutex::new(Runner::new(folder, setup)?));
    let conclusion = libtest_mimic::run(arguments, trials(selection, Some(&runner)));
    figures::print();
    Ok(conclusion.exit_code())
}

/// Every case as a test; without a runner they can only be listed.
fn trials(selection: Selection, runner: Option<&Arc<Mutex<Runner>>>) -> Vec<Trial> {
    let trial = |case: &'static Case| {
        let runner = runner.cloned();
        Trial::test(case.name(), move || match runner {
            Some(runner) => run::in_bed(&runner, case),
            None => Err("no bed was made for this case".into()),
        })
        .with_ignored_flag(!selection.includes(case))
    };
    cases::all().map(trial).collect()
}
