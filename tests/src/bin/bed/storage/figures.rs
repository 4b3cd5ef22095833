//! Medians side by side.

use std::fmt;

/// One row per figure, one column per server of files.
pub(super) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

struct Row {
    /// `rootfs untar`.
    name: String,
    unit: String,
    /// All values of each column.
    values: Vec<Vec<f64>>,
}

impl Row {
    fn median(&self, column: usize) -> Option<f64> {
        let mut values = self.values.get(column)?.clone();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

impl Table {
    pub(super) fn of(columns: impl Iterator<Item = &'static str>) -> Self {
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds to `column` what was said: lines `place name value unit`.
    pub(super) fn add(&mut self, column: usize, said: &str) {
        for line in said.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [place, name, value, unit] = words[..]
                && let Ok(value) = value.parse()
            {
                self.put(column, &format!("{place} {name}"), unit, value);
            }
        }
    }

    fn put(&mut self, column: usize, name: &str, unit: &str, value: f64) {
        let at = self.rows.iter().position(|row| row.name == name);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                unit: unit.to_owned(),
                values: vec![Vec::new(); self.columns.len()],
            });
            self.rows.len() - 1
        });
        if let Some(values) = self.rows[at].values.get_mut(column) {
            values.push(value);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} {:<8}", "", "")?;
        for column in &self.columns {
            write!(f, " {column:>10}")?;
        }
        for other in self.columns.iter().filter(|name| **name != OURS) {
            write!(f, " {:>12}", format!("of {other}"))?;
        }
        writeln!(f)?;
        self.rows.iter().try_for_each(|row| self.line(row, f))
    }
}

/// The column that the others are compared with.
const OURS: &str = "ours";

impl Table {
    fn line(&self, row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} {:<8}", row.name, row.unit)?;
        let medians: Vec<_> = (0..self.columns.len())
            .map(|column| row.median(column).unwrap_or_default())
            .collect();
        for median in &medians {
            write!(f, " {median:>10.1}")?;
        }
        let ours = self.columns.iter().position(|name| *name == OURS);
        let ours = ours.and_then(|at| medians.get(at)).copied();
        for (name, median) in self.columns.iter().zip(&medians) {
            if *name != OURS {
                write!(f, " {:>12.2}", ours.unwrap_or_default() / median)?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared() {
        let mut table = Table::of(["runc", "ours"].into_iter());
        for value in [9.0, 1.0, 4.0] {
            table.add(0, &format!("rootfs untar {value} files/s\nnoise\n"));
            table.add(1, &format!("rootfs untar {} files/s\n", value / 2.0));
        }
        let shown = table.to_string();
        let row: Vec<_> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["rootfs", "untar", "files/s", "4.0", "2.0", "0.50"]);
    }
}
