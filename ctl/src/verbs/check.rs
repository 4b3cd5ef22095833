//! `kata-mshv check`

use std::path::PathBuf;

use anyhow::Context;

use super::{Global, HANDLER};
use crate::host::{Finding, Level, examine};
use crate::table;
use crate::terminal::print;

/// Tell whether this host can run pods in VMs, what will be used, and why.
///
/// The exit code is 1 where pods cannot run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// The shim's configuration [default: the handler's own].
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,

    /// The handler of containerd's configuration that pods with a VM run by.
    #[arg(long, value_name = "NAME", default_value = HANDLER)]
    handler: String,
}

/// Runs the verb.
///
/// # Errors
/// That the findings cannot be printed.
pub async fn check(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let findings = examine(
        &global.runtime_endpoint,
        &args.handler,
        args.config.as_deref(),
    )
    .await;
    let text = match args.json {
        true => {
            serde_json::to_string_pretty(&findings)?
                + "
"
        }
        false => report(&findings),
    };
    print(&text).context("cannot print")?;
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(i32::from(failed))
}

fn report(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings.iter().flat_map(rows).collect();
    let verdict = match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Fail) => "Pods in VMs cannot run on this host as it is.",
        _ => "Pods in VMs can run on this host.",
    };
    format!("{}{verdict}\n", table::render(&rows))
}

/// A line for the finding, and one for what to do about it.
fn rows(finding: &Finding) -> Vec<Vec<String>> {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    };
    let row = |level: &str, subject: &str, text: &str| {
        vec![level.to_owned(), subject.to_owned(), text.to_owned()]
    };
    let advice = finding.advice.as_ref();
    let advice = advice.map(|advice| row("", "", &format!("to do: {advice}")));
    let found = row(level, finding.subject, &finding.found);
    std::iter::once(found).chain(advice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, advice: Option<&str>) -> Finding {
        Finding {
            subject: "s",
            level,
            found: "f".to_owned(),
            advice: advice.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn advice_has_a_line_of_its_own_and_the_worst_decides() {
        let text = report(&[finding(Level::Ok, None), finding(Level::Fail, Some("a"))]);
        let expected = "ok    s  f\nFAIL  s  f\n         to do: a\nPods in VMs cannot run on this host as it is.\n";
        assert_eq!(text, expected);
        assert!(report(&[finding(Level::Warn, Some("a"))]).ends_with("can run on this host.\n"));
    }
}
