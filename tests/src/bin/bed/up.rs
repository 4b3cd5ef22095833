//! `bed up`: a shell in a bed.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use e2e::bed::{Bed, Driver, Handler, Packages, Product, Setup, Version};
use e2e::{in_lab, isolation};

use crate::steps;

/// Start a containerd and give a shell in it.
///
/// `ctr`, `kata-mshv` and `runc` are the bed's. All goes when the shell ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which containerd.
    #[arg(long = "version", value_enum, default_value = "2")]
    containerd: Version,

    /// In a lab, where the built-in VMM runs VMs; with a command.
    #[arg(long, requires = "command")]
    lab: bool,

    /// A command to run instead of a shell.
    #[arg(last = true)]
    command: Vec<OsString>,
}

pub(crate) fn up(args: &Args) -> Result<ExitCode> {
    let prepare = || prepare(args.containerd);
    if args.lab && !lab::inside() {
        prepare()?;
        return in_lab::again();
    }
    isolation::run(prepare, |folder| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("start a runtime")?;
        let bed = runtime.block_on(Bed::up(&folder, setup(args.containerd)))?;
        Ok(code(shell(&bed, args)?))
    })
}

/// Does `work` in a bed that is there for it alone.
pub(crate) fn in_bed(
    version: Version,
    work: impl AsyncFnOnce(&Bed) -> Result<()>,
) -> Result<ExitCode> {
    isolation::run(
        || prepare(version),
        |folder| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.context("start a runtime")?.block_on(async {
                let up = Bed::up(&folder, setup(version));
                let bed = steps::step(&version.to_string(), up).await?;
                work(&bed).await
            })?;
            Ok(ExitCode::SUCCESS)
        },
    )
}

/// A bed as a node is.
pub(crate) fn setup(version: Version) -> Setup {
    Setup {
        version,
        handler: Handler::KataMshv,
        driver: Driver::Auto,
    }
}

/// What has to be there, looked for and fetched while still on the host.
pub(crate) fn prepare(version: Version) -> Result<()> {
    Product::find()?.check()?;
    let spinner = steps::spinner("looking for containerd");
    let progress = |step: &str| {
        spinner.set_message(step.to_owned());
        if spinner.is_hidden() {
            eprintln!("  {step}");
        }
    };
    let fetched = Packages::fetch(version, progress);
    spinner.finish_and_clear();
    fetched.map(|_| ())
}

fn shell(bed: &Bed, args: &Args) -> Result<ExitStatus> {
    let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let (program, arguments) = match args.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => {
            eprintln!(
                "{} is up; its log is {}; leave the shell and all is gone",
                bed.version,
                bed.layout.containerd_log().display()
            );
            (shell, &[][..])
        }
    };
    let mut command = Command::new(&program);
    command.args(arguments).envs(bed.environment());
    let status = command.status();
    status.with_context(|| format!("run {}", program.display()))
}

fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    )
}
