//! Log lines on the terminal: standard output and standard error apart, each
//! line with the name of its container where there are several.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::line::{LogLine, LogStream};

/// Either standard output or standard error.
pub type Terminal = Box<dyn AsyncWrite + Send + Unpin>;

/// Prints the lines of one container.
pub struct Printer<W> {
    prefix: String,
    out: Half<W>,
    err: Half<W>,
}

/// One of the two streams.
struct Half<W> {
    sink: W,
    /// Text that waits to be written.
    text: Vec<u8>,
    /// Whether the last piece was of a line that goes on.
    inside_line: bool,
}

impl Printer<Terminal> {
    /// Prints to the process's own standard output and error; `prefix` comes
    /// before each line.
    #[must_use]
    pub fn to_terminal(prefix: &str) -> Self {
        let (out, err) = (tokio::io::stdout(), tokio::io::stderr());
        Self::new(prefix, Box::new(out), Box::new(err))
    }
}

impl<W: AsyncWrite + Unpin> Printer<W> {
    /// Prints to `out` and `err`.
    pub fn new(prefix: &str, out: W, err: W) -> Self {
        Self {
            prefix: prefix.to_owned(),
            out: Half::new(out),
            err: Half::new(err),
        }
    }

    /// Prints lines in their order.
    ///
    /// # Errors
    /// What writing meets, such as a pipe that nobody reads any more.
    pub async fn print<'a>(&mut self, lines: impl Iterator<Item = LogLine<'a>>) -> io::Result<()> {
        for line in lines {
            let (half, other) = match line.stream {
                LogStream::Stdout => (&mut self.out, &mut self.err),
                LogStream::Stderr => (&mut self.err, &mut self.out),
            };
            // Where both are the same terminal they keep their order.
            other.write().await?;
            half.push(&self.prefix, &line);
        }
        self.out.write().await?;
        self.err.write().await
    }
}

impl<W: AsyncWrite + Unpin> Half<W> {
    fn new(sink: W) -> Self {
        Self {
            sink,
            text: Vec::new(),
            inside_line: false,
        }
    }

    fn push(&mut self, prefix: &str, line: &LogLine<'_>) {
        if !self.inside_line {
            self.text.extend_from_slice(prefix.as_bytes());
        }
        self.text.extend_from_slice(line.text);
        self.inside_line = line.partial;
        if !line.partial {
            self.text.push(b'\n');
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.sink.write_all(&self.text).await?;
            self.sink.flush().await?;
            self.text.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
impl Printer<Vec<u8>> {
    pub(super) fn to_memory(prefix: &str) -> Self {
        Self::new(prefix, Vec::new(), Vec::new())
    }

    pub(super) fn memory(self) -> (String, String) {
        let text = |half: Half<Vec<u8>>| String::from_utf8(half.sink).unwrap();
        (text(self.out), text(self.err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(prefix: &str, lines: &[&str]) -> (String, String) {
        let mut printer = Printer::to_memory(prefix);
        let lines = lines
            .iter()
            .filter_map(|line| LogLine::parse(line.as_bytes()));
        printer.print(lines).await.unwrap();
        printer.memory()
    }

    #[tokio::test]
    async fn the_streams_stay_apart() {
        let (out, err) = printed("", &["t stdout F a", "t stderr F b", "t stdout F c"]).await;
        assert_eq!((out.as_str(), err.as_str()), ("a\nc\n", "b\n"));
    }

    #[tokio::test]
    async fn a_line_that_was_split_is_one_line_with_one_prefix() {
        let (out, _) = printed("[c] ", &["t stdout P a", "t stdout F b", "t stdout F c"]).await;
        assert_eq!(out, "[c] ab\n[c] c\n");
    }
}
