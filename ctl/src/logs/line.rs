//! Lines of a container's log file, as the CRI logging format has them:
//! `<RFC 3339 time> <stdout|stderr> <tags> <text>`.

/// Which stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was written, RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// The stream it was written to.
    pub stream: LogStream,
    /// Whether the text goes on in the next line of the same stream, as the
    /// runtime splits long lines (tag `P`).
    pub partial: bool,
    /// The text without its line feed.
    pub text: &'a [u8],
}

impl<'a> LogLine<'a> {
    /// Reads a line given without its line feed. None where it is not of the
    /// format.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let stream = match fields.next()? {
            b"stdout" => LogStream::Stdout,
            b"stderr" => LogStream::Stderr,
            _ => return None,
        };
        let mut tags = fields.next()?.split(|&byte| byte == b':');
        let partial = match tags.next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        let text = fields.next()?;
        Some(Self {
            time,
            stream,
            partial,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_line_keeps_its_spaces() {
        let line = LogLine::parse(b"2026-01-02T03:04:05.000000006Z stdout F  a  b ").unwrap();
        assert_eq!(line.time, "2026-01-02T03:04:05.000000006Z");
        assert_eq!(
            (line.stream, line.partial, line.text),
            (LogStream::Stdout, false, &b" a  b "[..])
        );
    }

    #[test]
    fn a_partial_line_and_further_tags_are_understood() {
        let line = LogLine::parse(b"t stderr P:x half").unwrap();
        assert_eq!(
            (line.stream, line.partial, line.text),
            (LogStream::Stderr, true, &b"half"[..])
        );
    }

    #[test]
    fn an_empty_text_is_a_line() {
        assert_eq!(LogLine::parse(b"t stdout F ").unwrap().text, b"");
    }

    #[test]
    fn other_text_is_no_log_line() {
        for line in [
            &b""[..],
            b"hello",
            b"t stdin F x",
            b"t stdout Q x",
            b"t stdout F",
        ] {
            assert_eq!(LogLine::parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn a_container_can_write_anything(text: Vec<u8>) {
            let line = [&b"t stdout F "[..], &text].concat();
            prop_assert_eq!(LogLine::parse(&line).map(|line| line.text), Some(&text[..]));
            let _ = LogLine::parse(&text);
        }
    }
}
