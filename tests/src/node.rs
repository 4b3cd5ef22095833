//! The node's own commands, as its operator and the cluster's agents give them:
//! `ip`, `tc`, `iptables`. They act on the namespaces of the bed.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a command that must succeed, and returns its output.
///
/// # Errors
///
/// It cannot be run, or ends otherwise; its words are in the error.
pub fn run(command: &[&str]) -> Result<String> {
    let (program, args) = command.split_first().context("an empty command")?;
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the lines of `script`, each a command that must succeed.
///
/// # Errors
///
/// As [`run`].
pub fn run_all(script: &str) -> Result<()> {
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        run(&line.split_whitespace().collect::<Vec<_>>())?;
    }
    Ok(())
}
