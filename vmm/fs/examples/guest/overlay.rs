//! Overlay file systems on the share, as a container engine in the pod makes.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use nix::mount::{MsFlags, mount, umount};

use crate::console::Console;
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("overlay with all layers on the share", on_share),
    ("overlay with the upper layer in memory", upper_in_memory),
];

fn on_share(_: &mut Console) -> anyhow::Result<()> {
    exercise(&format!("{SHARE}/overlay"), &format!("{SHARE}/overlay"))
}

fn upper_in_memory(_: &mut Console) -> anyhow::Result<()> {
    exercise(&format!("{SHARE}/overlay-lower"), "/tmp/overlay-upper")
}

fn exercise(lower: &str, upper: &str) -> anyhow::Result<()> {
    let merged = "/tmp/merged";
    for dir in [
        format!("{lower}/lower/kept"),
        format!("{lower}/lower/replaced"),
        format!("{upper}/upper"),
        format!("{upper}/work"),
        merged.to_owned(),
    ] {
        fs::create_dir_all(dir)?;
    }
    for file in ["changed", "deleted", "kept/file", "replaced/old"] {
        fs::write(format!("{lower}/lower/{file}"), "lower")?;
    }
    let options = format!("lowerdir={lower}/lower,upperdir={upper}/upper,workdir={upper}/work");
    mount(
        Some("overlay"),
        merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context("mount the overlay")?;
    let outcome = change(Path::new(merged), Path::new(&format!("{lower}/lower")));
    umount(merged)?;
    outcome
}

fn change(merged: &Path, lower: &Path) -> anyhow::Result<()> {
    fs::write(merged.join("changed"), "upper")?;
    fs::remove_file(merged.join("deleted"))?;
    fs::remove_dir_all(merged.join("replaced"))?;
    // Only an opaque directory, marked by an attribute, hides the old one.
    fs::create_dir(merged.join("replaced"))?;
    fs::write(merged.join("replaced/new"), "upper")?;

    ensure!(fs::read(merged.join("changed"))? == b"upper");
    ensure!(fs::read(lower.join("changed"))? == b"lower");
    ensure!(!merged.join("deleted").exists());
    ensure!(!merged.join("replaced/old").exists(), "not opaque");
    ensure!(fs::read(merged.join("kept/file"))? == b"lower");
    Ok(())
}
