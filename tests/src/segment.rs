//! A network outside of the node: a card of the node's, and at the other end of its
//! wire a machine that serves traffic.
//!
//! ```text
//! node ─ card0 ═══ eth0 ─ neighbour, 10.70.0.1 and fd70::1
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::umount;
use tokio::task::spawn_blocking;

use crate::node;
use crate::traffic;

/// The node's card.
pub const CARD: &str = "card0";

/// The neighbour's addresses.
pub const NEIGHBOUR: [&str; 2] = ["10.70.0.1", "fd70::1"];

/// What both have their addresses of.
pub const SUBNETS: [&str; 2] = ["10.70.0.0/24", "fd70::/64"];

const NAMESPACE: &str = "neighbour";

/// Where `ip` looks for it.
const FILE: &str = "/run/netns/neighbour";

/// `nsenter`'s word for it.
const INSIDE: &str = "--net=/run/netns/neighbour";

/// A card and its neighbour. To be taken away by [`Segment::remove`].
pub struct Segment {
    program: PathBuf,
    server: Child,
}

impl Segment {
    /// Lays the wire; the neighbour's addresses are those of its VLAN `tag`, if it
    /// has one.
    ///
    /// # Errors
    ///
    /// What `ip` says; or `traffic` is not built.
    pub fn lay(tag: Option<u16>) -> Result<Self> {
        // As containerd does it: `ip netns add` mounts more than the namespace.
        node::run_all(&format!(
            "mkdir -p /run/netns
            touch {FILE}
            unshare --net={FILE} true
            ip link add {CARD} type veth peer name eth0 netns {NAMESPACE}
            ip link set {CARD} up
            ip -n {NAMESPACE} link set lo up
            ip -n {NAMESPACE} link set eth0 up"
        ))?;
        let interface = match tag {
            None => "eth0",
            Some(tag) => {
                node::run_all(&format!(
                    "ip -n {NAMESPACE} link add link eth0 name tagged0 type vlan id {tag}
                    ip -n {NAMESPACE} link set tagged0 up"
                ))?;
                "tagged0"
            }
        };
        let [v4, v6] = NEIGHBOUR;
        node::run_all(&format!(
            "ip -n {NAMESPACE} address add {v4}/24 dev {interface}
            ip -n {NAMESPACE} address add {v6}/64 dev {interface} nodad"
        ))?;
        let program = traffic::executable()?;
        let mut serve = Command::new("nsenter");
        serve
            .arg(INSIDE)
            .arg(&program)
            .arg("serve")
            .stdin(Stdio::null());
        let server = serve.spawn().context("start the neighbour's server")?;
        Ok(Self { program, server })
    }

    /// Runs the lines of `script`, commands of `ip`, as the neighbour.
    ///
    /// # Errors
    ///
    /// What `ip` says.
    pub fn ip(&self, script: &str) -> Result<()> {
        let lines = script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let lines: Vec<_> = lines
            .map(|line| format!("ip -n {NAMESPACE} {line}"))
            .collect();
        node::run_all(&lines.join("\n"))
    }

    /// The neighbour sends `length` bytes to each of `addresses`, and gets them back.
    ///
    /// # Errors
    ///
    /// It does not, or others.
    pub async fn reaches(&self, addresses: &[String], length: u64) -> Result<()> {
        for address in addresses {
            self.traffic(&["echo", address, &length.to_string()])
                .await
                .with_context(|| format!("from the neighbour to {address}"))?;
        }
        Ok(())
    }

    /// The neighbour calls the group that servers are in, and is answered.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub async fn calls_the_group(&self) -> Result<()> {
        self.traffic(&["call"]).await
    }

    async fn traffic(&self, words: &[&str]) -> Result<()> {
        let program = self.program.display().to_string();
        let enter = ["nsenter", INSIDE, program.as_str()];
        let command: Vec<_> = enter
            .iter()
            .chain(words)
            .map(|&word| word.to_owned())
            .collect();
        spawn_blocking(move || {
            let command: Vec<_> = command.iter().map(String::as_str).collect();
            node::run(&command).map(drop)
        })
        .await?
    }

    /// Takes all away.
    ///
    /// # Errors
    ///
    /// The server has ended before, or `ip` says so.
    pub fn remove(mut self) -> Result<()> {
        let ended = self.server.try_wait().context("look after the neighbour")?;
        ensure!(
            ended.is_none(),
            "the neighbour's server has ended: {ended:?}"
        );
        self.server.kill().context("end the neighbour's server")?;
        self.server.wait().context("wait for the neighbour's end")?;
        node::run(&["ip", "link", "delete", CARD])?;
        umount(FILE).context("take the neighbour's namespace away")?;
        fs::remove_file(FILE).context("remove the neighbour's namespace")
    }
}
