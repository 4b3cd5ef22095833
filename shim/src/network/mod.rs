//! The pod's network: whatever the CNI plugins left in the pod's network
//! namespace is mirrored into the guest. Each interface gets a tap beside it;
//! what arrives at one leaves by the other (tc ingress redirect), and the
//! agent gives the guest's interface the same addresses and routes, those that
//! come later too.

mod error;
mod filter;
mod follow;
mod inspect;
mod link;
mod loopback;
mod namespace;
mod redirect;
mod route;
mod rule;
mod state;
mod sysctl;
mod tap;

use std::os::fd::OwnedFd;
use std::path::Path;

use futures::TryStreamExt;
use protocol::agent::{Loopback, NetworkState, Sysctl};
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressMessage;
use tokio::task::JoinHandle;
use vmm_api::NetConfig;

pub(crate) use error::NetworkError;
pub(crate) use follow::{Changes, follow};
use link::{Link, Seen};
use redirect::TapLink;
use state::read;

/// A pod's interfaces, mirrored. The taps live as long as somebody holds
/// their descriptors.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) nets: Vec<NetConfig>,
    pub(crate) taps: Vec<OwnedFd>,
    pub(crate) state: NetworkState,
    /// `None`: nobody on the host reaches the guest's localhost.
    pub(crate) loopback: Option<Loopback>,
    /// Of `state`, from now on.
    pub(crate) changes: Option<Changes>,
    settings: Option<Reading>,
}

/// Settings that are being read: milliseconds that a guest has while it boots.
type Reading = JoinHandle<Result<Vec<Sysctl>, NetworkError>>;

impl Network {
    /// Mirrors the interfaces of the namespace at `path`.
    pub(crate) async fn mirror(path: &Path) -> Result<Self, NetworkError> {
        let (handle, events) = namespace::netlink(path)?;
        let addresses = state::addresses(&handle).await?;
        let links = links(&handle, &addresses).await?;
        let state = state::read_all(&handle, &links, &addresses).await?;
        let mut network = Self {
            nets: links.iter().map(Link::net_config).collect(),
            state: state.clone(),
            settings: Some(read_settings(path, &links)),
            ..Self::default()
        };
        for (index, link) in links.iter().enumerate() {
            let tap = namespace::run_in(path, || tap::open(index))??;
            let joined = redirect::connect(&handle, link, &tap.name).await?;
            network.taps.push(tap.fd);
            if index == 0 {
                network.loopback = lead_loopback(&handle, path, link, &joined).await;
            }
        }
        network.changes = Some(Changes::new(handle, events, links, state));
        Ok(network)
    }

    /// What somebody set in the namespace, once it is read.
    pub(crate) async fn settings(&mut self) -> Result<Vec<Sysctl>, NetworkError> {
        let Some(reading) = self.settings.take() else {
            return Ok(Vec::new());
        };
        reading
            .await
            .unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))
    }
}

fn read_settings(path: &Path, links: &[Link]) -> Reading {
    let names: Vec<_> = links.iter().map(|link| link.name.clone()).collect();
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || sysctl::changed(&path, &names))
}

/// A pod that cannot be port-forwarded to is better than none.
async fn lead_loopback(
    handle: &Handle,
    path: &Path,
    link: &Link,
    tap: &TapLink,
) -> Option<Loopback> {
    let led = loopback::lead(handle, path, link, tap).await;
    led.map_err(|error| {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "port-forward will not reach this pod");
    })
    .ok()
}

/// In the order of their making, which is that of the guest's devices.
async fn links(handle: &Handle, addresses: &[AddressMessage]) -> Result<Vec<Link>, NetworkError> {
    let messages: Vec<_> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(read("interfaces"))?;
    let mut links = Vec::new();
    for message in &messages {
        match link::see(message) {
            Seen::Mirrored(link) => links.push(link),
            Seen::Impossible(link) if inspect::is_addressed(link.index, addresses) => {
                return Err(NetworkError::Impossible {
                    interface: link.name,
                    kind: link.kind,
                    reason: link.reason,
                });
            }
            Seen::Unused | Seen::Impossible(_) => {}
        }
    }
    links.sort_by_key(|link| link.index);
    Ok(links)
}

#[cfg(test)]
mod tests;
