//! containerd: does it answer, and does it know the handler.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::cri::{Client, CriError};

use super::Finding;

const RUNTIME_TYPE: &str = "io.containerd.kata-mshv-vm-isolation.v2";
/// Bit of `CAP_SYS_RESOURCE` (linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

/// What was learnt of the running containerd.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    /// Its `PATH`.
    pub(super) search_path: Option<String>,
    /// Its program.
    pub(super) program: Option<PathBuf>,
    /// Where the handler's shim is, if the handler says so.
    pub(super) runtime_path: Option<PathBuf>,
    /// The handler's configuration of the shim, if it names one.
    pub(super) config_path: Option<PathBuf>,
}

/// The part of containerd's configuration that matters, as it tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    containerd: Runtimes,
    #[serde(rename = "restrictOOMScoreAdj")]
    restrict_oom_score_adj: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtimes {
    runtimes: BTreeMap<String, Runtime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    runtime_type: String,
    runtime_path: String,
    options: Option<BTreeMap<String, serde_json::Value>>,
}

pub(super) fn absent(error: CriError) -> Finding {
    let found = format!("{:#}", anyhow::Error::from(error));
    let advice = "start it, or name its socket with --runtime-endpoint";
    Finding::warn("containerd", found, advice)
}

pub(super) async fn examine(
    client: &Client,
    endpoint: &str,
    handler: &str,
) -> (Daemon, Vec<Finding>) {
    let (version, status) = match tokio::try_join!(client.version(), client.status(true)) {
        Ok(answers) => answers,
        Err(error) => return (Daemon::default(), vec![absent(error)]),
    };
    let settings = status
        .info
        .get("config")
        .map(String::as_str)
        .unwrap_or_default();
    // A runtime that tells nothing about itself has no handler either.
    let settings: Settings = serde_json::from_str(settings).unwrap_or_default();
    let pid = peer(endpoint);
    let daemon = daemon(pid, settings.containerd.runtimes.get(handler));
    let named = format!("{} {}", version.runtime_name, version.runtime_version);
    let findings = vec![
        Finding::ok("containerd", format!("{named} at {endpoint}")),
        judge_handler(handler, &settings),
        judge_oom_score(pid.and_then(may_lower_oom_score), &settings),
    ];
    (daemon, findings)
}

/// The process at the other end of the socket.
fn peer(endpoint: &str) -> Option<i32> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let socket = UnixStream::connect(path).ok()?;
    let pid = getsockopt(&socket, PeerCredentials).ok()?.pid();
    // It is 0 in a PID namespace in which containerd has no number.
    (pid > 0).then_some(pid)
}

fn daemon(pid: Option<i32>, runtime: Option<&Runtime>) -> Daemon {
    let environment = pid.and_then(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    let options = runtime.and_then(|runtime| runtime.options.as_ref());
    let config_path = options.and_then(|options| options.get("ConfigPath")?.as_str());
    let runtime_path = runtime.map(|runtime| runtime.runtime_path.as_str());
    let given = |text: &&str| !text.is_empty();
    Daemon {
        search_path: environment.as_deref().and_then(search_path),
        program: pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok()),
        runtime_path: runtime_path.filter(given).map(PathBuf::from),
        config_path: config_path.filter(given).map(PathBuf::from),
    }
}

/// `PATH` of an environment as `/proc` shows it.
fn search_path(environment: &[u8]) -> Option<String> {
    let mut variables = environment.split(|byte| *byte == 0);
    let path = variables.find_map(|variable| variable.strip_prefix(b"PATH="))?;
    Some(String::from_utf8_lossy(path).into_owned())
}

fn judge_handler(handler: &str, settings: &Settings) -> Finding {
    const SUBJECT: &str = "handler";
    let advice = "import the drop-in of runtimeclass/containerd into containerd's configuration";
    match settings.containerd.runtimes.get(handler) {
        None => Finding::warn(
            SUBJECT,
            format!("containerd has no handler {handler}"),
            advice,
        ),
        Some(runtime) if runtime.runtime_type != RUNTIME_TYPE => {
            let found = format!(
                "{handler} has runtime_type {}, not {RUNTIME_TYPE}",
                runtime.runtime_type
            );
            Finding::warn(SUBJECT, found, advice)
        }
        Some(_) => Finding::ok(SUBJECT, format!("{handler} runs {RUNTIME_TYPE}")),
    }
}

/// Whether a process has CAP_SYS_RESOURCE. None where that is not known.
fn may_lower_oom_score(pid: i32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    has_capability(&status, CAP_SYS_RESOURCE)
}

fn has_capability(status: &str, capability: u32) -> Option<bool> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = u64::from_str_radix(effective.trim(), 16).ok()?;
    Some(set >> capability & 1 == 1)
}

/// containerd gives sandboxes an oom_score_adj of -998, which takes a
/// capability that hosts in a container or a small VM may not have.
fn judge_oom_score(may_lower: Option<bool>, settings: &Settings) -> Finding {
    const SUBJECT: &str = "oom score";
    match (may_lower, settings.restrict_oom_score_adj) {
        (Some(true), _) => Finding::ok(SUBJECT, "containerd may lower it (CAP_SYS_RESOURCE)"),
        (_, true) => Finding::ok(
            SUBJECT,
            "containerd leaves it (restrict_oom_score_adj = true)",
        ),
        (Some(false), false) => Finding::fail(
            SUBJECT,
            "containerd has no CAP_SYS_RESOURCE: every pod fails at setting oom_score_adj",
            "set restrict_oom_score_adj = true in the CRI section of containerd's configuration",
        ),
        (None, false) => Finding::warn(
            SUBJECT,
            "not known whether containerd has CAP_SYS_RESOURCE, which it needs to start pods",
            "run `kata-mshv check` as root, in containerd's PID namespace",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_handler_is_found_with_its_options() {
        let settings = settings(
            r#"{"containerd": {"runtimes": {"kata-mshv-vm-isolation": {
                "runtimeType": "io.containerd.kata-mshv-vm-isolation.v2", "runtimePath": "/opt/shim",
                "options": {"ConfigPath": "/etc/x.toml"}, "sandboxer": "podsandbox"}, "runc": {
                "runtimeType": "io.containerd.runc.v2", "options": null}}}, "other": 1}"#,
        );
        assert_eq!(
            judge_handler("kata-mshv-vm-isolation", &settings).level,
            Level::Ok
        );
        assert_eq!(judge_handler("runc", &settings).level, Level::Warn);
        assert_eq!(judge_handler("none", &settings).level, Level::Warn);
        let daemon = daemon(
            None,
            settings.containerd.runtimes.get("kata-mshv-vm-isolation"),
        );
        assert_eq!(daemon.config_path, Some("/etc/x.toml".into()));
        assert_eq!(daemon.runtime_path, Some("/opt/shim".into()));
    }

    #[test]
    fn the_capability_is_one_bit() {
        assert_eq!(
            has_capability("Name:\tx\nCapEff:\t0000000001000000\n", 24),
            Some(true)
        );
        assert_eq!(
            has_capability("CapEff:\t000001fffeffffff\n", 24),
            Some(false)
        );
        assert_eq!(has_capability("Name:\tx\n", 24), None);
    }

    #[test]
    fn a_containerd_that_cannot_start_pods_fails() {
        let restricted = settings(r#"{"restrictOOMScoreAdj": true}"#);
        let free = Settings::default();
        assert_eq!(judge_oom_score(Some(true), &free).level, Level::Ok);
        assert_eq!(judge_oom_score(Some(false), &restricted).level, Level::Ok);
        assert_eq!(judge_oom_score(Some(false), &free).level, Level::Fail);
        assert_eq!(judge_oom_score(None, &free).level, Level::Warn);
    }

    #[test]
    fn the_search_path_is_that_of_the_process() {
        assert_eq!(search_path(b"A=1\0PATH=/a:/b\0"), Some("/a:/b".to_owned()));
        assert_eq!(search_path(b"XPATH=/a\0"), None);
    }
}
