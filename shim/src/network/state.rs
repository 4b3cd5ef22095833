//! Addresses, routes, rules and neighbours of the pod's interfaces.

use futures::TryStreamExt;
use nix::libc;
use protocol::agent::{NetworkState, Rule};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::{Handle, IpVersion};

use super::link::Link;
use super::{NetworkError, inspect, route, rule};

/// What `links` have now; `addresses` are the namespace's.
pub(super) async fn read_all(
    handle: &Handle,
    links: &[Link],
    addresses: &[AddressMessage],
) -> Result<NetworkState, NetworkError> {
    let own = links.iter().map(|link| inspect::interface(link, addresses));
    let neighbours = handle.neighbours().get().execute().try_collect();
    let neighbours: Vec<_> = neighbours.await.map_err(read("neighbours"))?;
    Ok(NetworkState {
        interfaces: own.chain(inspect::loopback(addresses)).collect(),
        routes: routes(handle)
            .await?
            .iter()
            .filter_map(|message| route::route(message, links))
            .collect(),
        rules: rules(handle).await?.iter().filter_map(known_rule).collect(),
        neighbours: neighbours
            .iter()
            .filter_map(|n| inspect::neighbour(n, links))
            .collect(),
        ..Default::default()
    })
}

/// All of the namespace.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, NetworkError> {
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

pub(super) fn read(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Read { what, source }
}
