//! Programs that are built with the tests, for guests and containers.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The program `name`.
///
/// # Errors
///
/// It is not built.
pub(crate) fn neighbour(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("find the running executable")?;
    // Tests are one folder below the programs that they are built with.
    let mut folders = own.ancestors().skip(1).take(2);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.with_context(|| format!("{name} is not beside this executable"))
}
