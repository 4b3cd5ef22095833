//! Settings of containerd's that a case has for itself.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Bed, settings};

/// Settings that containerd has beside those of the bed.
pub struct MoreSettings<'a> {
    bed: &'a Bed,
    file: PathBuf,
}

impl Bed {
    /// Starts containerd anew with `more` settings, tables of plugins. `take_away`
    /// goes back to the bed's own.
    ///
    /// # Errors
    ///
    /// It does not start; its last words are in the error.
    pub fn add_settings(&self, more: &str) -> Result<MoreSettings<'_>> {
        let file = self.layout.more_settings().join("case.toml");
        let text = format!("version = {}\n{more}", settings::number(self.version));
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let added = MoreSettings { bed: self, file };
        self.stop_containerd()?;
        self.start_containerd()?;
        Ok(added)
    }
}

impl MoreSettings<'_> {
    /// Starts containerd anew without them; `meanwhile` happens when none runs.
    ///
    /// # Errors
    ///
    /// It does not end or start, or what `meanwhile` fails with.
    pub fn take_away(self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.bed.stop_containerd()?;
        meanwhile()?;
        fs::remove_file(&self.file).context("remove a case's settings")?;
        self.bed.start_containerd()
    }
}
