//! A pod on a plain tap: the same guest and container, its tap a port of the bridge
//! itself, without namespace, wire and redirection.

use std::fs;
use std::net::SocketAddr;
use std::process;

use anyhow::{Context, Result};
use e2e::bed::{BRIDGE, Bed, Handler};
use e2e::pod::Pod;
use e2e::{network_view, node};

use super::network::serving;

/// The pod's only one.
const TAP: &str = "tap-kata0";

/// Makes one; no other pod runs yet.
pub(super) async fn plain(bed: &Bed) -> Result<(Pod, SocketAddr)> {
    let made = serving(bed, Handler::KataMshv, "plain").await?;
    let wires = fs::read_dir(format!("/sys/class/net/{BRIDGE}/brif"));
    let mut wires = wires.context("list the bridge's ports")?;
    let wire = wires.next().context("the pod has no wire")??.file_name();
    let here = process::id().to_string();
    network_view::in_namespace(&["ip", "link", "set", TAP, "netns", &here])?;
    node::run(&["ip", "link", "delete", &wire.to_string_lossy()])?;
    node::run(&["ip", "link", "set", TAP, "master", BRIDGE, "up"])?;
    Ok(made)
}
