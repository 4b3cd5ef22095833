//! What shims wrote down about the VMs that run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vmm_api::SandboxRecord;

/// The file of a sandbox, in `<state_dir>/<containerd namespace>/<id>/`.
const RECORD: &str = "sandbox.json";

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the sandbox record {}", path.display())]
pub struct RecordError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: io::Error,
}

/// The records below `state_dir`, and what could not be read. A sandbox that
/// has no record yet, or is going away, is neither.
#[must_use]
pub fn read_records(state_dir: &Path) -> (Vec<SandboxRecord>, Vec<RecordError>) {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for namespace in entries(state_dir, &mut errors) {
        for sandbox in entries(&namespace, &mut errors) {
            match read(&sandbox.join(RECORD)) {
                Ok(record) => records.extend(record),
                Err(error) => errors.push(error),
            }
        }
    }
    (records, errors)
}

fn read(path: &Path) -> Result<Option<SandboxRecord>, RecordError> {
    let failed = |source| RecordError {
        path: path.to_owned(),
        source,
    };
    match fs::read(path) {
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(text) => {
            let record = serde_json::from_slice(&text);
            record.map(Some).map_err(|error| failed(error.into()))
        }
    }
}

fn entries(folder: &Path, errors: &mut Vec<RecordError>) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    match listed {
        Ok(paths) => paths,
        Err(error) if is_absent(&error) => Vec::new(),
        Err(source) => {
            let path = folder.to_owned();
            errors.push(RecordError { path, source });
            Vec::new()
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn write(root: &Path, sandbox: &str, text: &str) {
        let folder = root.join("k8s.io").join(sandbox);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(RECORD), text).unwrap();
    }

    #[test]
    fn records_are_found_and_broken_ones_are_named() {
        let root = tempfile::tempdir().unwrap();
        let record = SandboxRecord {
            sandbox_id: "s1".into(),
            vcpus: 3,
            ..empty()
        };
        write(root.path(), "s1", &serde_json::to_string(&record).unwrap());
        write(root.path(), "s2", "{");
        fs::create_dir(root.path().join("k8s.io/starting")).unwrap();
        fs::write(root.path().join("stray"), "").unwrap();
        let (records, errors) = read_records(root.path());
        assert_eq!(records, [record]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().ends_with("k8s.io/s2/sandbox.json"));
    }

    #[test]
    fn no_folder_means_no_sandbox() {
        let (records, errors) = read_records(Path::new("/nonexistent"));
        assert!(records.is_empty() && errors.is_empty());
    }

    pub(crate) fn empty() -> SandboxRecord {
        serde_json::from_value(serde_json::json!({
            "sandbox_id": "", "namespace": "k8s.io", "driver": "qemu (tcg)", "vcpus": 1,
            "memory_mib": 2048, "guest_kernel": "6.12.0-kata-mshv", "boot_id": "b",
            "agent_version": "0.1.0", "started_at": "2026-01-01T00:00:00Z",
            "pids": {"shim": 1, "vmm": 2, "fs": 3, "vsock": 4},
        }))
        .unwrap()
    }
}
