//! What was measured, as a table of medians.

use std::time::Duration;

/// Measurements of one contender.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
}

/// Prints least, median and most of each, and its median in ours, the first's.
pub(crate) fn print(title: &str, unit: &str, columns: &[Column]) {
    println!("{title} ({unit})");
    println!(
        "  {:<18} {:>8} {:>8} {:>8} {:>8}",
        "", "least", "median", "most", "in ours"
    );
    let ours = columns
        .first()
        .map_or(f64::NAN, |first| middle(&first.values));
    for Column { name, values } in columns {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let [least, most] = [sorted.first(), sorted.last()].map(|v| v.copied().unwrap_or(f64::NAN));
        let median = middle(values);
        let ratio = median / ours;
        println!("  {name:<18} {least:>8.1} {median:>8.1} {most:>8.1} {ratio:>8.2}");
    }
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        at(half)
    } else {
        f64::midpoint(at(half.wrapping_sub(1)), at(half))
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
