//! Networks of a case's own: other plugins than the bed's bridge, or more of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Bed;
use super::settings::{BRIDGE, bridge};
use crate::harness::patient;
use crate::node;

/// Where leases of addresses are, below a folder for each network.
pub(super) const LEASES: &str = "/run/cni";

/// A network as containerd is told of it: its plugins, one after the other.
#[derive(Clone, Debug)]
pub struct Network {
    name: &'static str,
    plugins: Vec<Value>,
}

impl Network {
    /// A network called `name`, made by `plugin`.
    #[must_use]
    pub fn new(name: &'static str, plugin: Value) -> Self {
        Self {
            name,
            plugins: vec![plugin],
        }
    }

    /// Has `plugin` go on with what those before it made.
    #[must_use]
    pub fn then(mut self, plugin: Value) -> Self {
        self.plugins.push(plugin);
        self
    }

    pub(super) fn conflist(&self) -> String {
        json!({"cniVersion": "0.4.0", "name": self.name, "plugins": self.plugins}).to_string()
    }

    /// Its file among several: containerd goes by their order.
    pub(super) fn file(&self, folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("{number}-{}.conflist", self.name))
    }

    /// Bridges that its first pod made.
    fn bridges(&self) -> impl Iterator<Item = &str> {
        let bridges = self.plugins.iter().filter_map(|p| p["bridge"].as_str());
        bridges.filter(|bridge| *bridge != BRIDGE)
    }
}

/// Addresses of `subnets`, one of each, and default routes.
#[must_use]
pub fn addresses(subnets: &[&str]) -> Value {
    let ranges: Vec<_> = subnets.iter().map(|s| json!([{"subnet": s}])).collect();
    json!({
        "type": "host-local",
        "dataDir": LEASES,
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    })
}

/// Networks that are there instead of the bed's.
pub struct Networks<'a> {
    bed: &'a Bed,
    networks: Vec<Network>,
}

impl Bed {
    /// Gives pods from now on an interface in each of `networks`. `restore` goes
    /// back to the bed's own.
    ///
    /// # Errors
    ///
    /// containerd does not take them.
    pub async fn networks(&self, networks: Vec<Network>) -> Result<Networks<'_>> {
        self.set_networks(&networks).await?;
        let bed = self;
        Ok(Networks { bed, networks })
    }

    /// Adds a plugin: a script that acts on `$CNI_COMMAND` as CNI's
    /// specification has it. It goes away with the bed.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn plugin(&self, name: &str, script: &str) -> Result<()> {
        let path = self.layout.cni_plugins().join(name);
        fs::write(&path, script)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", path.display()))
    }

    async fn set_networks(&self, networks: &[Network]) -> Result<()> {
        let folder = self.layout.cni();
        let mut old = files(&folder)?;
        for (number, network) in networks.iter().enumerate() {
            let path = network.file(&folder, number);
            // Whole at once: containerd reads it as soon as it appears.
            let partial = self.layout.scratch("partial.conflist");
            fs::write(&partial, network.conflist())
                .and_then(|()| fs::rename(&partial, &path))
                .with_context(|| format!("write {}", path.display()))?;
            old.retain(|other| *other != path);
        }
        for path in old {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        let names: Vec<_> = networks.iter().map(|network| network.name).collect();
        self.await_networks(&names).await
    }

    /// containerd reads its networks anew when it is told that files changed.
    async fn await_networks(&self, names: &[&str]) -> Result<()> {
        let client = self.cri().await?;
        let deadline = Instant::now() + patient(Duration::from_secs(10));
        loop {
            let status = client.status(true).await?;
            let told = status.info.get("cniconfig").cloned().unwrap_or_default();
            if known(&told) == names {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "containerd does not take the networks {names:?}, but has {told}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Names of the networks that containerd has, but for the loopback.
fn known(told: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(told).unwrap_or_default();
    let networks = told["Networks"].as_array().cloned().unwrap_or_default();
    networks
        .iter()
        .filter(|network| network["IFName"] != "lo")
        .filter_map(|network| network["Config"]["Name"].as_str().map(str::to_owned))
        .collect()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

impl Networks<'_> {
    /// Gives the bed its own network back, and removes what the pods shared.
    ///
    /// # Errors
    ///
    /// An address is still lent; or containerd does not take the network.
    pub async fn restore(self) -> Result<()> {
        for network in &self.networks {
            for bridge in network.bridges() {
                node::run(&["ip", "link", "delete", bridge])?;
            }
            let leases = Path::new(LEASES).join(network.name);
            for lease in files(&leases).unwrap_or_default() {
                let name = lease.file_name().unwrap_or_default().to_string_lossy();
                let shared = name == "lock" || name.starts_with("last_reserved_ip.");
                ensure!(shared, "an address is still lent: {}", lease.display());
            }
            if leases.exists() {
                fs::remove_dir_all(&leases).context("remove a network's leases")?;
            }
        }
        self.bed.set_networks(&[bridge()]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_no_network_of_pods() {
        let told = json!({"Networks": [
            {"Config": {"Name": "cni-loopback"}, "IFName": "lo"},
            {"Config": {"Name": "bed"}, "IFName": "eth0"},
        ]});
        assert_eq!(known(&told.to_string()), ["bed"]);
        assert!(known("").is_empty());
    }
}
