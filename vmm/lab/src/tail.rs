//! Bytes into lines, and the last of them.

/// Longest line that is kept in one piece, bytes. What writes without end must
/// not grow a buffer without end.
const LONGEST: usize = 16 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes more bytes; `each` gets the lines that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.ends_with(b"\n") || self.rest.len() >= LONGEST {
                self.flush(each);
            }
        }
    }

    /// Ends a line that has no end.
    pub(crate) fn flush(&mut self, each: &mut dyn FnMut(&str)) {
        if !self.rest.is_empty() {
            each(String::from_utf8_lossy(&self.rest).trim_end_matches(['\n', '\r']));
            self.rest.clear();
        }
    }
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        let mut each = |line: &str| found.push(line.to_owned());
        for piece in pieces {
            lines.push(piece, &mut each);
        }
        lines.flush(&mut each);
        found
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n", b"\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let endless = vec![b'x'; 3 * LONGEST + 1];
        let pieces: Vec<&[u8]> = endless.chunks(1000).collect();
        let found = lines(&pieces);
        assert!(found.iter().all(|line| line.len() < 2 * LONGEST));
        assert_eq!(found.iter().map(String::len).sum::<usize>(), endless.len());
    }

    #[test]
    fn the_last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
