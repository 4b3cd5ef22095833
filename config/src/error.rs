//! What can be wrong with a configuration.

use std::path::PathBuf;

/// Why a configuration is refused. Every text names the place to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("read configuration {}", path.display())]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// No such key.
    #[error("{}:{line}: unknown key {key:?}{}", path.display(), hint(*nearest))]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// Dotted path as written.
        key: String,
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A value that the key cannot have.
    #[error("{}:{line}: {key} must be {wanted}, not {got}", path.display())]
    BadValue {
        /// Which file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// Dotted path.
        key: String,
        /// What it may be.
        wanted: String,
        /// What it is.
        got: String,
    },
    /// An annotation's value that the key cannot have.
    #[error("pod annotation {annotation}: must be {wanted}, not {got}")]
    BadAnnotation {
        /// Full name of the annotation.
        annotation: String,
        /// What it may be.
        wanted: String,
        /// What it is.
        got: String,
    },
    /// Values that contradict each other.
    #[error("configuration: {smaller} is above {larger}: lower it or raise {larger}")]
    Order {
        /// Key and value that should be the smaller.
        smaller: String,
        /// Key and value that should be the larger.
        larger: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `kata-mshv config show` lists all keys".to_owned(),
        |key| format!("; did you mean {key:?}?"),
    )
}
