//! Reading the manifest, and saying what of it has no effect.

use std::fs;
use std::io::{self, Read, stdin};
use std::path::Path;

use anyhow::Context;

use super::report;
use crate::manifest::{self, Pod, RestartPolicy};

/// The pods of the file, `-` being standard input.
pub(super) fn read(file: &Path, detached: bool) -> anyhow::Result<Vec<Pod>> {
    let standard_input = file.as_os_str() == "-";
    let (name, text) = match standard_input {
        true => ("standard input".to_owned(), read_standard_input()),
        false => (file.display().to_string(), fs::read_to_string(file)),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let manifest = manifest::parse(&text).with_context(|| name.clone())?;
    for warning in &manifest.warnings {
        report(&format!("warning: {name}: {warning}"));
    }
    if detached {
        manifest.pods.iter().for_each(warn_of_restarts);
    }
    Ok(manifest.pods)
}

fn read_standard_input() -> io::Result<String> {
    let mut text = String::new();
    stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn warn_of_restarts(pod: &Pod) {
    let (name, policy) = (pod.full_name(), pod.spec.restart_policy);
    if policy != RestartPolicy::Never {
        let why = "has no effect with --detach, as nobody watches";
        report(&format!(
            "warning: pod {name}: restartPolicy {policy:?} {why}"
        ));
    }
}
