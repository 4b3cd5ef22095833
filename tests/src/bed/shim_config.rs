//! The shim's configuration in the bed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use toml::{Table, Value};

use super::{Driver, Product};
use crate::harness::patient;

/// The shim's own default.
const BOOT: Duration = Duration::from_secs(30);

/// What was built, run by `driver`.
pub(super) fn initial(product: &Product, driver: Driver) -> Result<String> {
    let config = json!({
        "driver": driver.name(),
        "guest": {
            "kernel": product.kernel,
            "initramfs": product.initramfs,
            "boot_timeout_s": patient(BOOT).as_secs(),
        },
        "devices": {"fs": product.fs, "vsock": product.vsock},
        "built_in": {"path": product.vmm},
        "log": {"level": "debug"},
    });
    toml::to_string(&config).context("write the shim's configuration as TOML")
}

/// A changed configuration; dropped, it is what it was.
pub struct ChangedConfig {
    path: PathBuf,
    original: String,
}

impl ChangedConfig {
    pub(super) fn make(path: PathBuf, key: &str, value: Value) -> Result<Self> {
        let original = read(&path)?;
        let mut table: Table = original.parse().context("the bed's own TOML")?;
        set(&mut table, key, value);
        write(&path, &table.to_string())?;
        Ok(Self { path, original })
    }
}

impl Drop for ChangedConfig {
    fn drop(&mut self) {
        // Where it cannot be written, the next case fails with the reason.
        let _ = write(&self.path, &self.original);
    }
}

/// Sets the dotted `key`, making the tables on the way.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| Table::new().into());
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_in_its_table_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "[guest]\nkernel = \"/a\"\n").unwrap();
        let changed = ChangedConfig::make(path.clone(), "guest.kernel", "/b".into()).unwrap();
        assert_eq!(read(&path).unwrap(), "[guest]\nkernel = \"/b\"\n");
        drop(changed);
        assert_eq!(read(&path).unwrap(), "[guest]\nkernel = \"/a\"\n");
    }

    #[test]
    fn a_missing_table_is_made() {
        let mut table = Table::new();
        set(&mut table, "qemu.path", "/x".into());
        assert_eq!(table.to_string(), "[qemu]\npath = \"/x\"\n");
    }
}
