//! Telling whoever waits what is going on.

use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs `work`, showing that it goes on, and tells how long it took.
pub(crate) async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begin = Instant::now();
    let spinner = spinner(what);
    let result = work.await;
    spinner.finish_and_clear();
    if result.is_ok() {
        eprintln!("  {what:<58} {:>7.2} s", begin.elapsed().as_secs_f64());
    }
    result
}

/// Shows `what` until it is finished. Where nobody looks, a line says it.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Shows how many of `total` things called `unit` are done.
pub(crate) fn bar(total: u64, unit: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!("  {{bar:40}} {{pos}} of {{len}} {unit}, {{eta}} to go");
    let style = ProgressStyle::with_template(&template);
    let bar = ProgressBar::new(total);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
