//! Upstream's `virtiofsd` (crate of that name) in the place of `kata-mshv-fs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use e2e::bed::Bed;

/// Makes a program that takes our server's options, `--listen-fd 3 --relief-fd 4
/// --cache C --share D`, and becomes `virtiofsd`; its path.
///
/// As the same share needs it: mounts below are announced, attributes and access
/// control lists are served. Everything else is as it is by default.
pub(super) fn stand_in(bed: &Bed, virtiofsd: &Path) -> Result<String> {
    let path = bed.layout.scratch("virtiofsd.sh");
    let script = format!(
        "#!/bin/sh\nexec {} --fd=3 --cache=\"$6\" --shared-dir=\"$8\" --announce-submounts \
         --xattr --posix-acl\n",
        virtiofsd.display()
    );
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}
