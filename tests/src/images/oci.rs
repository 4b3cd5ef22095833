//! Images as an OCI image layout (image-spec v1.1, `image-layout.md`) in a tar
//! archive, as `ctr images import` takes it.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::layer::Layer;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CREATED: &str = "2024-01-01T00:00:00Z";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image to be written.
pub(super) struct Image {
    name: &'static str,
    layers: Vec<Layer>,
    command: Vec<String>,
}

impl Image {
    /// An image with the full name `name` that runs `command`.
    pub(super) fn new(name: &'static str, layers: Vec<Layer>, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        Self {
            name,
            layers,
            command,
        }
    }
}

/// Blobs by their digests: what images share is kept once.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps `bytes` and returns their descriptor.
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = hex::encode(Sha256::digest(bytes));
        self.0
            .entry(digest.clone())
            .or_insert_with(|| bytes.to_vec());
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        })
    }
}

/// Writes `images` as one archive.
pub(super) fn write(images: &[Image], to: impl Write) -> Result<()> {
    let mut blobs = Blobs::default();
    let manifests: Vec<_> = images.iter().map(|image| add(image, &mut blobs)).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let mut archive = Builder::new(to);
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    append(&mut archive, "index.json", index.to_string().as_bytes())?;
    for (digest, bytes) in &blobs.0 {
        append(&mut archive, &format!("blobs/sha256/{digest}"), bytes)?;
    }
    archive.finish().context("finish the archive")
}

/// Adds the image's blobs and returns its entry in the index.
fn add(image: &Image, blobs: &mut Blobs) -> Value {
    let layers: Vec<_> = image
        .layers
        .iter()
        .map(|layer| blobs.add(LAYER, layer.bytes()))
        .collect();
    // Layers are not compressed, so these digests are the layers' own.
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": image.command, "Env": [PATH]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blobs.add(CONFIG, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": layers,
    });
    let mut entry = blobs.add(MANIFEST, manifest.to_string().as_bytes());
    entry["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
    });
    entry
}

fn append(archive: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, path, bytes)
        .with_context(|| format!("add {path} to the archive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn every_digest_leads_to_its_blob() {
        let mut layer = Layer::builder();
        layer.file("hello", 0o644, "hello\n").unwrap();
        let layer = layer.finish().unwrap();
        let image = |name| Image::new(name, vec![layer.clone()], &["/bin/sh"]);
        let mut archive = Vec::new();
        write(
            &[image("localhost/a:1"), image("localhost/b:1")],
            &mut archive,
        )
        .unwrap();

        let entries = entries(&archive);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            &entries[&format!("blobs/{digest}")]
        };
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        assert_eq!(manifests.len(), 2);
        let manifest: Value = serde_json::from_slice(blob(&manifests[0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        assert_eq!(blob(&manifest["layers"][0]), layer.bytes());
    }
}
