//! What this host has for pods in VMs.
//!
//! Each module looks at one part and returns findings: what was found, whether
//! that is good enough, what it means, and what to do about it.

mod containerd;
mod files;
mod finding;
mod hypervisor;
mod kernel;
mod network;
mod qemu;
mod traffic_control;

use std::path::Path;

use config::{Config, DEFAULT_PATH, Loaded};

use crate::cri::Client;

pub use finding::{Finding, Level};

/// Looks at everything. `endpoint` is where containerd is to be found, `handler`
/// its handler for pods in VMs, and `config` the shim's configuration where it
/// is another than the handler's own or the default one.
pub async fn examine(endpoint: &str, handler: &str, config: Option<&Path>) -> Vec<Finding> {
    let (daemon, mut of_containerd) = match Client::connect(endpoint).await {
        Ok(client) => containerd::examine(&client, endpoint, handler).await,
        Err(error) => (
            containerd::Daemon::default(),
            vec![containerd::absent(error)],
        ),
    };
    let path = config
        .or(daemon.config_path.as_deref())
        .unwrap_or(Path::new(DEFAULT_PATH));
    let (config, finding) = configuration(path);
    let mut findings = vec![finding];
    let (built_in, of_hypervisor) = hypervisor::examine(&config);
    findings.extend(of_hypervisor);
    findings.extend(network::examine(&config).await);
    findings.extend(kernel::examine(&config));
    findings.extend(files::examine(&config, &daemon, built_in));
    findings.append(&mut of_containerd);
    findings
}

/// The configuration, or the defaults where it is not usable.
fn configuration(path: &Path) -> (Config, Finding) {
    const SUBJECT: &str = "configuration";
    match Loaded::read(path) {
        Ok(loaded) => {
            let found = match path.exists() {
                true => format!("{} and its drop-ins", path.display()),
                false => format!("defaults; there is no {}", path.display()),
            };
            (loaded.config(), Finding::ok(SUBJECT, found))
        }
        Err(error) => {
            let found = format!(
                "{:#}; the rest is checked with defaults",
                anyhow::Error::from(error)
            );
            let advice = "mend the file; `kata-mshv config show` reads it again";
            (Config::default(), Finding::fail(SUBJECT, found, advice))
        }
    }
}
