//! What a container wrote, as its log has it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ctl::logs::{LogLine, LogStream};

/// Both streams of a container, each joined from its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Logs {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("read the log {}", path.display()))?;
        let mut logs = Self::default();
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let parsed = LogLine::parse(line);
            let parsed = parsed.with_context(|| {
                format!("{}: {:?}", path.display(), String::from_utf8_lossy(line))
            })?;
            logs.add(&parsed);
        }
        Ok(logs)
    }

    fn add(&mut self, line: &LogLine<'_>) {
        let stream = match line.stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        stream.push_str(&String::from_utf8_lossy(line.text));
        if !line.partial {
            stream.push('\n');
        }
    }
}
