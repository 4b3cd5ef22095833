//! One layer of an image: an uncompressed tar archive.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// A finished layer.
#[derive(Clone, Debug)]
pub(super) struct Layer(Vec<u8>);

impl Layer {
    pub(super) fn builder() -> LayerBuilder {
        LayerBuilder(Builder::new(Vec::new()))
    }

    /// The archive.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A layer in the making. Paths are relative to the root; all is root's.
pub(super) struct LayerBuilder(Builder<Vec<u8>>);

impl LayerBuilder {
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        self.add(EntryType::Directory, path, mode, &[])
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, text: &str) -> Result<()> {
        self.add(EntryType::Regular, path, mode, text.as_bytes())
    }

    /// A copy of the host's executable `source`.
    pub(super) fn program(&mut self, path: &str, source: &Path) -> Result<()> {
        let bytes = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        self.add(EntryType::Regular, path, 0o755, &bytes)
    }

    pub(super) fn hard_link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Link, 0o755, 0);
        self.0
            .append_link(&mut header, path, target)
            .with_context(|| format!("add {path} to a layer"))
    }

    pub(super) fn finish(self) -> Result<Layer> {
        Ok(Layer(self.0.into_inner().context("finish a layer")?))
    }

    fn add(&mut self, kind: EntryType, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = header(kind, mode, bytes.len());
        self.0
            .append_data(&mut header, path, bytes)
            .with_context(|| format!("add {path} to a layer"))
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
