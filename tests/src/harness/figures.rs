//! Times and sizes that cases met, for people: they are printed, not judged.

use std::sync::Mutex;

static FIGURES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Remembers `value` of `what` for the end of the run.
pub fn figure(what: impl Into<String>, value: impl Into<String>) {
    if let Ok(mut figures) = FIGURES.lock() {
        figures.push((what.into(), value.into()));
    }
}

pub(super) fn print() {
    let Ok(figures) = FIGURES.lock() else { return };
    let width = figures
        .iter()
        .map(|(what, _)| what.len())
        .max()
        .unwrap_or(0);
    for (what, value) in figures.iter() {
        println!("{what:width$}  {value}");
    }
}
