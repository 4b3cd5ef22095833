//! What the two ends of the port say to each other: one JSON value a line.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A program to run: where it is, its arguments and environment, and how long
/// it may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    pub(crate) path: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) timeout: Duration,
}

impl Program {
    /// The program at `path`, with a minute to end.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Ended, with everything that it started, when it runs longer.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal, this number of it.
    Killed(i32),
    /// By force, for it was still running after its time.
    TimedOut,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
            Self::TimedOut => write!(f, "still running after its time"),
        }
    }
}

/// From host to guest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Run this, and nothing else meanwhile.
    Run(Program),
}

/// From guest to host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Init is ready, so long after the kernel's start.
    Ready { uptime: Duration },
    /// The program wrote a line.
    Line(String),
    /// The program ended, and everything that it started.
    Ended(Ending),
    /// The program could not be started, or init could not go on.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_the_signal() {
        assert_eq!(Ending::Killed(6).to_string(), "killed by SIGABRT");
        assert_eq!(Ending::Killed(64).to_string(), "killed by signal 64");
        assert_eq!(Ending::Exited(3).to_string(), "exited with 3");
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let event = Event::Line("two\nlines \"quoted\"".to_owned());
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains('\n'), "{text}");
        let Event::Line(line) = serde_json::from_str(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(line, "two\nlines \"quoted\"");
    }
}
