//! The pod's network: whatever the CNI plugins left in the pod's network
//! namespace is mirrored into the guest. Each interface gets a tap beside it;
//! what arrives at one leaves by the other (tc ingress redirect), and the
//! agent gives the guest's interface the same addresses and routes.

mod error;
mod filter;
mod inspect;
mod link;
mod loopback;
mod namespace;
mod redirect;
mod route;
mod rule;
mod sysctl;
mod tap;

use std::os::fd::OwnedFd;
use std::path::Path;

use futures::TryStreamExt;
use nix::libc;
use protocol::agent::{Interface, Loopback, Neighbour, Route, Rule, Sysctl};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::{Handle, IpVersion};
use tokio::task::JoinHandle;
use vmm_api::NetConfig;

pub(crate) use error::NetworkError;
use link::{Link, Seen};
use redirect::TapLink;

/// A pod's interfaces, mirrored. The taps live as long as somebody holds
/// their descriptors.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) nets: Vec<NetConfig>,
    pub(crate) taps: Vec<OwnedFd>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) routes: Vec<Route>,
    pub(crate) neighbours: Vec<Neighbour>,
    pub(crate) rules: Vec<Rule>,
    /// `None`: nobody on the host reaches the guest's localhost.
    pub(crate) loopback: Option<Loopback>,
    settings: Option<Reading>,
}

/// Settings that are being read: milliseconds that a guest has while it boots.
type Reading = JoinHandle<Result<Vec<Sysctl>, NetworkError>>;

impl Network {
    /// Mirrors the interfaces of the namespace at `path`.
    pub(crate) async fn mirror(path: &Path) -> Result<Self, NetworkError> {
        let handle = namespace::netlink(path)?;
        let addresses = addresses(&handle).await?;
        let links = links(&handle, &addresses).await?;
        let mut network = Self::describe(&handle, &links, &addresses).await?;
        network.settings = Some(read_settings(path, &links));
        for (index, link) in links.iter().enumerate() {
            let tap = namespace::run_in(path, || tap::open(index))??;
            let joined = redirect::connect(&handle, link, &tap.name).await?;
            network.taps.push(tap.fd);
            if index == 0 {
                network.loopback = lead_loopback(&handle, path, link, &joined).await;
            }
        }
        Ok(network)
    }

    async fn describe(
        handle: &Handle,
        links: &[Link],
        addresses: &[AddressMessage],
    ) -> Result<Self, NetworkError> {
        let neighbours: Vec<_> = handle
            .neighbours()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(read("neighbours"))?;
        let own = links.iter().map(|link| inspect::interface(link, addresses));
        Ok(Self {
            nets: links.iter().map(Link::net_config).collect(),
            taps: Vec::new(),
            interfaces: own.chain(inspect::loopback(addresses)).collect(),
            routes: routes(handle)
                .await?
                .iter()
                .filter_map(|message| route::route(message, links))
                .collect(),
            neighbours: neighbours
                .iter()
                .filter_map(|n| inspect::neighbour(n, links))
                .collect(),
            rules: rules(handle).await?.iter().filter_map(known_rule).collect(),
            loopback: None,
            settings: None,
        })
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

async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, NetworkError> {
    let found = handle.address().get().execute().try_collect();
    found.await.map_err(read("addresses"))
}

async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, NetworkError> {
    let mut routes = Vec::new();
    for family in [route::all_v4(), route::all_v6()] {
        let found = handle.route().get(family).execute().try_collect();
        let found: Vec<_> = found.await.map_err(read("routes"))?;
        routes.extend(found);
    }
    Ok(routes)
}

async fn rules(handle: &Handle) -> Result<Vec<RuleMessage>, NetworkError> {
    let mut rules = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let found = handle.rule().get(version).execute().try_collect();
        let found: Vec<_> = found
            .await
            .or_else(no_rules)
            .map_err(read("routing rules"))?;
        rules.extend(found);
    }
    Ok(rules)
}

/// A kernel without several tables, or without the family, has none.
fn no_rules(error: rtnetlink::Error) -> Result<Vec<RuleMessage>, rtnetlink::Error> {
    match error {
        rtnetlink::Error::NetlinkError(message)
            if [-libc::EAFNOSUPPORT, -libc::EOPNOTSUPP].contains(&message.raw_code()) =>
        {
            Ok(Vec::new())
        }
        other => Err(other),
    }
}

fn known_rule(message: &RuleMessage) -> Option<Rule> {
    match rule::rule(message) {
        rule::Found::Rule(rule) => Some(rule),
        rule::Found::Initial => None,
        rule::Found::Unknown => {
            tracing::warn!(?message, "the guest will not have this routing rule");
            None
        }
    }
}

fn read(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Read { what, source }
}

#[cfg(test)]
mod tests;
