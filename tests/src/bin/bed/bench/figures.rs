//! Medians, and the table they are shown in.

use std::fmt;
use std::time::Duration;

use super::start::START;
use super::steady::Memory;

/// The promise: a pod's whole start is at most this many floors.
const PROMISE: f64 = 1.5;

/// Several measurements of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) median: Duration,
    least: Duration,
    most: Duration,
}

impl Figures {
    pub(crate) fn of(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Self {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |value: Duration| value.as_secs_f64() * 1000.0;
        let (median, least, most) = (ms(self.median), ms(self.least), ms(self.most));
        write!(f, "{median:>8.1} {least:>8.1} {most:>8.1}")
    }
}

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) floor: Figures,
    pub(crate) ours: Vec<(String, Figures)>,
    pub(crate) runc: Vec<(String, Figures)>,
    pub(crate) memory: Vec<Memory>,
}

impl Report {
    /// How many floors a whole start is.
    fn ratio(&self, spans: &[(String, Figures)]) -> f64 {
        let whole = spans.iter().find(|(name, _)| name == START);
        let whole = whole.map_or(0.0, |(_, figures)| figures.median.as_secs_f64());
        whole / self.floor.median.as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = format!("{:>8} {:>8} {:>8}", "median", "least", "most");
        writeln!(f, "{}; ms:\n\n{:<34} {heading}", self.title, "")?;
        writeln!(f, "{:<34} {}", "floor: QEMU, kernel, initramfs", self.floor)?;
        for (runtime, spans) in [("in a VM", &self.ours), ("runc", &self.runc)] {
            writeln!(f, "{runtime}")?;
            for (name, figures) in spans {
                writeln!(f, "  {name:<32} {figures}")?;
            }
        }
        let ratio = self.ratio(&self.ours);
        writeln!(
            f,
            "\na pod's start is {ratio:.2} floors (promised: at most {PROMISE}); under runc {:.2}",
            self.ratio(&self.runc)
        )?;
        writeln!(f, "\nhost memory of an idle pod, KiB (PSS; private of it):")?;
        for memory in &self.memory {
            writeln!(f, "  {memory}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let ms = Duration::from_millis;
        let figures = Figures::of(vec![ms(9), ms(1), ms(3)]);
        assert_eq!(figures.median, ms(3));
        assert_eq!(figures.to_string(), "     3.0      1.0      9.0");
    }
}
