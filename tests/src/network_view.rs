//! A network as `ip` shows it: in the pod's namespace on the node, which is what
//! CNI plugins made, and in a container. Both by the node's `ip`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ctl::cri::v1::MountPropagation;
use serde_json::{Map, Value};

use crate::node;
use crate::pod::{Container, ContainerSpec};

/// One JSON document of each.
const QUESTIONS: &str = "for what in 'addr' 'route show table all' 'rule' '-6 rule' \
                         'neigh show nud permanent'; do /usr/bin/ip -j $what; done";

/// The runtime's own: its taps in the namespace, and by whom the guest's localhost
/// is asked (docs/decisions/0027-localhost-is-routed-to-the-guest.md).
const OWN: [&str; 3] = ["tap-kata", "127.107.97.1", "fd6b:6174:61::1"];

/// Where the node's programs and their libraries are in a container that has them.
const PROGRAMS: [(&str, &str); 3] = [
    ("/usr", "/usr"),
    ("/usr/lib", "/lib"),
    ("/usr/lib64", "/lib64"),
];

/// What a network is made of, each as a line, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View(Vec<String>);

impl View {
    /// Of the network namespace of the bed's only pod.
    ///
    /// # Errors
    ///
    /// There is another number of pods.
    pub fn of_namespace() -> Result<Self> {
        Self::parse(&in_namespace(&["sh", "-c", QUESTIONS])?)
    }

    /// Of a container made by [`with_node_programs`].
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn in_container(container: &Container) -> Result<Self> {
        Self::parse(&container.ask(&["sh", "-c", QUESTIONS]).await?)
    }

    fn parse(text: &str) -> Result<Self> {
        let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let documents: Result<Vec<_>, _> = documents.collect();
        let documents = documents.with_context(|| format!("read what ip says: {text}"))?;
        let [interfaces, rest @ ..] = &documents[..] else {
            return Ok(Self(Vec::new()));
        };
        let rest = rest.iter().flat_map(items).filter_map(plain);
        let mut lines: Vec<_> = items(interfaces).flat_map(interface).chain(rest).collect();
        lines.retain(|line| !OWN.iter().any(|own| line.contains(own)));
        lines.sort();
        Ok(Self(lines))
    }

    /// Whether it has a line with all of `words`.
    #[must_use]
    pub fn has(&self, words: &[&str]) -> bool {
        let all = |line: &String| words.iter().all(|word| line.contains(word));
        self.0.iter().any(all)
    }
}

/// Checks that `container` has what CNI plugins made for the bed's only pod.
///
/// # Errors
///
/// What is different.
pub async fn compare(container: &Container) -> Result<View> {
    let made = View::of_namespace()?;
    let has = View::in_container(container).await?;
    let without = |a: &View, b: &View| {
        let lines = a.0.iter().filter(|line| !b.0.contains(line));
        lines.cloned().collect::<Vec<_>>().join("\n  ")
    };
    let (lacks, adds) = (without(&made, &has), without(&has, &made));
    ensure!(
        made == has,
        "the container lacks\n  {lacks}\nand has instead\n  {adds}"
    );
    Ok(has)
}

/// Has the node's `ip` and its libraries, read-only.
#[must_use]
pub fn with_node_programs(spec: ContainerSpec) -> ContainerSpec {
    PROGRAMS.into_iter().fold(spec, |spec, (host, point)| {
        let private = MountPropagation::PropagationPrivate;
        spec.mount(Path::new(host), point, private, true)
    })
}

/// Runs a program of the node's in the network namespace of the bed's only pod; what
/// it says.
///
/// # Errors
///
/// There is another number of pods, or what the program says.
pub fn in_namespace(command: &[&str]) -> Result<String> {
    let enter = format!("--net={}", namespace()?.display());
    node::run(&[&["nsenter", &enter], command].concat())
}

/// The network namespace of the bed's only pod.
fn namespace() -> Result<PathBuf> {
    let entries = fs::read_dir("/run/netns").context("list network namespaces")?;
    // By containerd's name for them: cases make namespaces too.
    let of_pod = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("cni-");
    let all: Vec<_> = entries
        .flatten()
        .filter(of_pod)
        .map(|entry| entry.path())
        .collect();
    match &all[..] {
        [only] => Ok(only.clone()),
        all => anyhow::bail!("there are {} pods with a network", all.len()),
    }
}

fn items(document: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    let items = document.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_object)
}

/// Name, size and hardware address, then each address.
fn interface(item: &Map<String, Value>) -> Vec<String> {
    let text = |key: &str| item.get(key).map(Value::to_string).unwrap_or_default();
    let name = text("ifname");
    let flags = text("flags");
    let is_port = item.contains_key("master");
    if !flags.contains("\"UP\"") || is_port {
        return Vec::new();
    }
    let told = ["NOARP", "PROMISC"]
        .into_iter()
        .filter(|flag| flags.contains(flag));
    let told: String = told.map(|flag| format!(" {flag}")).collect();
    let (address, mtu) = (text("address"), text("mtu"));
    let mut lines = vec![format!("interface {name} {address} mtu {mtu}{told}")];
    for address in items(item.get("addr_info").unwrap_or(&Value::Null)) {
        let part = |key: &str| address.get(key).map(Value::to_string).unwrap_or_default();
        let (local, length, scope) = (part("local"), part("prefixlen"), part("scope"));
        lines.push(format!("address {local}/{length} {scope} of {name}"));
    }
    lines
}

/// A route, rule or neighbour without what is the kernel's own business. `None`
/// for what follows from addresses.
fn plain(item: &Map<String, Value>) -> Option<String> {
    let mut item = item.clone();
    for key in ["protocol", "pref", "state"] {
        item.remove(key);
    }
    let is = |key: &str, value: &str| item.get(key).is_some_and(|v| *v == *value);
    let own = ["local", "broadcast", "multicast", "anycast"];
    // A kernel's own, however many interfaces: there, or moved to another table.
    let link_local = is("dst", "fe80::/64") && !item.contains_key("table");
    let follows = is("table", "local") && !item.contains_key("priority")
        || link_local
        || own.iter().any(|kind| is("type", kind));
    (!follows).then(|| Value::Object(item).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_and_the_kernel_add_is_left_out() {
        let text = r#"[{"ifname":"eth0","flags":["UP"],"mtu":1500,"address":"02:00","addr_info":
            [{"local":"10.0.0.1","prefixlen":8,"scope":"global"}]},
            {"ifname":"tap-kata0","flags":["UP"],"mtu":1500,"address":"02:01"}]
            [{"dst":"10.0.0.0/8","dev":"eth0","protocol":"kernel","flags":[]},
             {"dst":"127.0.0.1","dev":"tap-kata0"},
             {"type":"local","dst":"10.0.0.1","dev":"eth0","table":"local"}]
            [{"priority":0,"src":"all","table":"local"}]"#;
        let view = View::parse(text).unwrap();
        let expected = [
            r#"address "10.0.0.1"/8 "global" of "eth0""#,
            r#"interface "eth0" "02:00" mtu 1500"#,
            r#"{"dev":"eth0","dst":"10.0.0.0/8","flags":[]}"#,
            r#"{"priority":0,"src":"all","table":"local"}"#,
        ];
        assert_eq!(view.0, expected);
        assert!(view.has(&["eth0", "1500"]) && !view.has(&["eth0", "1400"]));
    }
}
