//! Files of `/etc`, and the shared memory, that a pod's containers have of the
//! pod. containerd's own sandbox controller makes them; with the Sandbox API
//! the shim does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{DnsConfig, PodSandboxConfig};
use oci_spec::runtime::{Mount, Spec};

/// Name in the bundle's folder, path in a container.
const FILES: [(&str, &str); 3] = [
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];
const SHARED_MEMORY: &str = "/dev/shm";

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("write the pod's {name} in {}", folder.display())]
pub(crate) struct EtcError {
    name: &'static str,
    folder: PathBuf,
    #[source]
    source: io::Error,
}

/// The pod's files, in a folder that somebody else removes.
#[derive(Debug)]
pub(crate) struct Etc {
    folder: PathBuf,
}

impl Etc {
    /// Writes the files of `pod` to `folder`.
    ///
    /// # Errors
    /// When one cannot be written, or the host's not be read.
    pub(crate) fn write(folder: &Path, pod: &PodSandboxConfig) -> Result<Self, EtcError> {
        let contents = [
            Ok(format!("{}\n", pod.hostname)),
            fs::read_to_string("/etc/hosts"),
            resolver(pod.dns_config.as_ref()),
        ];
        for ((name, _), content) in FILES.into_iter().zip(contents) {
            let written = content.and_then(|text| fs::write(folder.join(name), text));
            written.map_err(|source| EtcError {
                name,
                folder: folder.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Adds to a container of the pod what its spec does not have from
    /// elsewhere; kubelet has its own `/etc/hosts`.
    pub(crate) fn complete(&self, spec: &mut Spec) {
        let read_only = spec.root().as_ref().and_then(|root| root.readonly()) == Some(true);
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        // In a user namespace they are the pod's root's, as the files of the image.
        let linux = spec.linux().as_ref();
        let users = linux.and_then(|linux| linux.uid_mappings().clone());
        let groups = linux.and_then(|linux| linux.gid_mappings().clone());
        for (name, path) in FILES {
            let there = mounts.iter().any(|m| m.destination() == Path::new(path));
            if !there {
                let mut mount = bind(&self.folder.join(name), path, read_only);
                mount
                    .set_uid_mappings(users.clone())
                    .set_gid_mappings(groups.clone());
                mounts.push(mount);
            }
        }
        // One for each container is what a spec has for lack of a pod's.
        let own = |mount: &Mount| {
            mount.destination() == Path::new(SHARED_MEMORY)
                && mount.typ().as_deref() == Some("tmpfs")
                && mount.source().as_deref() == Some(Path::new("shm"))
        };
        for mount in mounts.iter_mut().filter(|mount| own(mount)) {
            *mount = bind(Path::new(SHARED_MEMORY), SHARED_MEMORY, false);
        }
        spec.set_mounts(Some(mounts));
    }
}

fn bind(source: &Path, destination: &str, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    let options = ["rbind", "rprivate", access].map(str::to_owned);
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.to_vec()));
    mount
}

/// resolv.conf(5); the host's for a pod that has nothing to say about it.
fn resolver(dns: Option<&DnsConfig>) -> io::Result<String> {
    let lines = dns.map(lines).unwrap_or_default();
    match lines.is_empty() {
        true => fs::read_to_string("/etc/resolv.conf"),
        false => Ok(lines),
    }
}

fn lines(dns: &DnsConfig) -> String {
    let list = |keyword: &str, words: &[String]| match words {
        [] => String::new(),
        words => format!("{keyword} {}\n", words.join(" ")),
    };
    let servers = dns.servers.iter().map(|s| format!("nameserver {s}\n"));
    let servers: String = servers.collect();
    list("search", &dns.searches) + &servers + &list("options", &dns.options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn etc(folder: &Path) -> Etc {
        let pod = PodSandboxConfig {
            hostname: "web".into(),
            dns_config: Some(DnsConfig {
                servers: vec!["10.96.0.10".into(), "fd00::a".into()],
                searches: vec!["a.local".into(), "b.local".into()],
                options: vec!["ndots:5".into()],
            }),
            ..Default::default()
        };
        Etc::write(folder, &pod).unwrap()
    }

    #[test]
    fn the_resolver_is_the_pods() {
        let folder = tempfile::tempdir().unwrap();
        etc(folder.path());
        let text = fs::read_to_string(folder.path().join("resolv.conf")).unwrap();
        assert_eq!(
            text,
            "search a.local b.local\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n"
        );
        let host = fs::read_to_string("/etc/resolv.conf").unwrap();
        assert_eq!(resolver(Some(&DnsConfig::default())).unwrap(), host);
    }

    #[test]
    fn what_a_container_has_from_elsewhere_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.1.0",
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [
                {"destination": "/etc/hosts", "type": "bind", "source": "/kubelet/hosts"},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            ]
        }))
        .unwrap();
        etc(folder.path()).complete(&mut spec);
        let mounts = spec.mounts().clone().unwrap();
        let source = |path: &str| {
            let mut found = mounts.iter().filter(|m| m.destination() == Path::new(path));
            let mount = found.next().unwrap();
            assert!(found.next().is_none(), "{path} twice");
            mount.source().clone().unwrap()
        };
        assert_eq!(source("/etc/hosts"), Path::new("/kubelet/hosts"));
        assert_eq!(source("/etc/hostname"), folder.path().join("hostname"));
        assert_eq!(source("/dev/shm"), Path::new("/dev/shm"));
        let name = mounts
            .iter()
            .find(|m| m.destination().ends_with("hostname"));
        let options = name.unwrap().options().clone().unwrap();
        assert!(options.contains(&"ro".to_owned()), "{options:?}");
    }
}
