//! Keeps both sides in step: over one connection the guest says which case it
//! starts and how its half ended.

use crate::cases::{self, Case, Setting};
use crate::machine::Machine;
use crate::shim::Shim;
use crate::{dial, machine};
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

/// No case may take longer.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// Marks a case on the kernel's command line, of which init is given what the
/// kernel does not know as well.
const CASE: &str = "case:";

/// Runs as init of the guest.
pub(crate) fn guest(arguments: &[String]) -> ! {
    let names = arguments.iter().filter_map(|a| a.strip_prefix(CASE));
    let case = |name| cases::ALL.iter().find(|case| case.name == name);
    if let Err(error) = guest_cases(names.filter_map(case)) {
        println!("guest: {error:#}");
    }
    machine::restart()
}

fn guest_cases(cases: impl Iterator<Item = &'static Case>) -> anyhow::Result<()> {
    let mut control = dial::control()?;
    let mut orders = BufReader::new(control.try_clone()?).lines();
    for case in cases {
        writeln!(control, "start {}", case.name)?;
        orders.next().context("the host is gone")??;
        match (case.guest)() {
            Ok(figure) => writeln!(control, "ok {figure}")?,
            Err(error) => writeln!(control, "failed {error:#}")?,
        }
    }
    // What a guest has queued is lost when it restarts: wait until the host
    // has all and hangs up.
    ensure!(orders.next().is_none(), "one order too many");
    Ok(())
}

/// Starts the machines and runs the host halves.
pub(crate) fn host(filters: &[String]) -> anyhow::Result<()> {
    for setting in cases::SETTINGS {
        let cases = setting.cases(filters);
        if !cases.is_empty() {
            println!("\n{}: {} cases", setting.name, cases.len());
            host_in(setting, &cases)?;
        }
    }
    Ok(())
}

fn host_in(setting: &Setting, cases: &[&Case]) -> anyhow::Result<()> {
    let started = Instant::now();
    let arguments: Vec<String> = cases.iter().map(|c| format!("{CASE}{}", c.name)).collect();
    let mut machine = Machine::start(setting.device_options, &arguments)?;
    let run = host_cases(cases, &machine.shim, started);
    let ended = machine.end(run.is_ok());
    let console = machine.console();
    run.with_context(|| format!("last lines of the guest's console:\n{console}"))?;
    ended
}

fn host_cases(cases: &[&Case], shim: &Shim, started: Instant) -> anyhow::Result<()> {
    let mut control = shim.accept_within(CASE_TIMEOUT)?.stream;
    control.set_read_timeout(Some(CASE_TIMEOUT))?;
    println!("guest is up after {:.2} s", started.elapsed().as_secs_f64());
    let mut reports = BufReader::new(control.try_clone()?).lines();
    let mut failed = 0;
    for case in cases {
        let order = reports.next().context("the guest is gone")??;
        ensure!(
            order == format!("start {}", case.name),
            "out of step: {order}"
        );
        writeln!(control, "go")?;
        let start = Instant::now();
        let result = run_case(case, shim, &mut reports);
        let seconds = start.elapsed().as_secs_f64();
        match &result {
            Ok(figures) => println!("test {} ... ok ({seconds:.2} s) {figures}", case.name),
            Err(error) => println!("test {} ... FAILED ({seconds:.2} s): {error:#}", case.name),
        }
        failed += u32::from(result.is_err());
    }
    ensure!(failed == 0, "{failed} cases failed");
    Ok(())
}

/// Both halves; an error of the guest's explains more than that of the host's.
fn run_case(
    case: &Case,
    shim: &Shim,
    reports: &mut impl Iterator<Item = std::io::Result<String>>,
) -> anyhow::Result<String> {
    let host = (case.host)(shim).context("host half");
    let report = reports.next().context("the guest is gone")?;
    let report = report.context("no report of the guest")?;
    match report.split_once(' ') {
        Some(("ok", figure)) => Ok(format!("{figure} {}", host?)),
        Some(("failed", why)) => bail!("guest half: {why} (host half: {host:?})"),
        _ => bail!("strange report {report:?}"),
    }
}
