//! Plain tables for terminals.

/// Lines of left-aligned columns, two spaces apart, the first line being the
/// header. Some cells come from guests, so control characters, which could
/// drive the terminal, are shown as `?`.
#[must_use]
pub fn render(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|c| printable(c)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// The text with `?` for each control character.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"));
    let line = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let table = render(&[
            row(&["NAME", "N"]),
            row(&["é", "12"]),
            row(&["long-name", ""]),
        ]);
        assert_eq!(table, "NAME       N\né          12\nlong-name\n");
    }

    #[test]
    fn a_guest_cannot_drive_the_terminal() {
        assert_eq!(render(&[row(&["6.12\x1b[2J\n"])]), "6.12?[2J?\n");
    }
}
