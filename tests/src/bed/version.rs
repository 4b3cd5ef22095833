//! Which containerd.

use std::fmt;

/// A containerd that the product supports, and where Debian has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    /// 1.6, of bookworm.
    #[value(name = "1.6")]
    V1_6,
    /// 1.7, of trixie.
    #[value(name = "1.7")]
    V1_7,
    /// 2.x, of sid.
    #[value(name = "2")]
    V2,
}

impl Version {
    /// What the version begins with: `1.7`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2 => "2",
        }
    }

    /// Debian's suite that carries it.
    pub(super) fn suite(self) -> &'static str {
        match self {
            Self::V1_6 => "bookworm",
            Self::V1_7 => "trixie",
            Self::V2 => "sid",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containerd {}", self.prefix())
    }
}
