//! `-info`: what containerd asks before there is any pod, to know what it may ask
//! of one.

use std::io::Write;

use anyhow::Context;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use serde_json::{Value, json};

const NAME: &str = "io.containerd.kata-mshv-vm-isolation.v2";

/// containerd's name of the OCI specification's features document, as JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Answers on standard output.
pub(crate) fn tell() -> anyhow::Result<()> {
    let answer = answer().write_to_bytes().context("encode what we can")?;
    std::io::stdout()
        .write_all(&answer)
        .context("answer containerd")
}

fn answer() -> RuntimeInfo {
    let features = Any {
        type_url: FEATURES.to_owned(),
        value: features().to_string().into_bytes(),
        ..Default::default()
    };
    RuntimeInfo {
        name: NAME.to_owned(),
        features: Some(features).into(),
        ..Default::default()
    }
}

/// OCI runtime specification, `features.md` and `features-linux.md`. Of it, newer
/// containerds offer kubelet `recursiveReadOnly` where `rro` is listed, and
/// `hostUsers: false` where there are user namespaces and idmapped mounts.
fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": {"v1": false, "v2": true, "systemd": false},
            "seccomp": {"enabled": true},
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
    })
}

const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nosuid",
    "private",
    "rbind",
    "relatime",
    "ro",
    "rprivate",
    "rro",
    "rslave",
    "rw",
    "slave",
    "strictatime",
    "suid",
    "sync",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_containerd_offer_user_namespaces_is_told() {
        let info = answer();
        let features: Value = serde_json::from_slice(&info.features.value).unwrap();
        assert_eq!(
            features["linux"]["mountExtensions"]["idmap"]["enabled"],
            true
        );
        let lists = |list: &Value, what| list.as_array().unwrap().contains(&json!(what));
        assert!(lists(&features["linux"]["namespaces"], "user"));
        assert!(lists(&features["mountOptions"], "rro"));
    }
}
