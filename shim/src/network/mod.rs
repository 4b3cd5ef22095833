//! The pod's network: whatever the CNI plugins left in the pod's network
//! namespace is mirrored into the guest. Each interface gets a tap beside it;
//! what arrives at one leaves by the other (tc ingress redirect), and the
//! agent gives the guest's interface the same addresses and routes.

mod error;
mod inspect;
mod namespace;
mod redirect;
mod tap;

use std::os::fd::OwnedFd;
use std::path::Path;

use futures::TryStreamExt;
use protocol::agent::{Interface, Neighbour, Route};
use rtnetlink::Handle;
use vmm_api::NetConfig;

pub(crate) use error::NetworkError;
use inspect::Link;

/// A pod's interfaces, mirrored. The taps live as long as somebody holds
/// their descriptors.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) nets: Vec<NetConfig>,
    pub(crate) taps: Vec<OwnedFd>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) routes: Vec<Route>,
    pub(crate) neighbours: Vec<Neighbour>,
}

impl Network {
    /// Mirrors the interfaces of the namespace at `path`.
    pub(crate) async fn mirror(path: &Path) -> Result<Self, NetworkError> {
        let handle = namespace::netlink(path)?;
        let links = links(&handle).await?;
        let mut network = Self::describe(&handle, &links).await?;
        for (index, link) in links.iter().enumerate() {
            let tap = namespace::run_in(path, || tap::open(index))??;
            redirect::connect(&handle, link, &tap.name).await?;
            network.taps.push(tap.fd);
        }
        Ok(network)
    }

    async fn describe(handle: &Handle, links: &[Link]) -> Result<Self, NetworkError> {
        let addresses: Vec<_> = handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(read("addresses"))?;
        let mut routes = Vec::new();
        for family in [inspect::all_routes_v4(), inspect::all_routes_v6()] {
            let found: Vec<_> = handle
                .route()
                .get(family)
                .execute()
                .try_collect()
                .await
                .map_err(read("routes"))?;
            routes.extend(found);
        }
        let neighbours: Vec<_> = handle
            .neighbours()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(read("neighbours"))?;
        Ok(Self {
            nets: links.iter().map(Link::net_config).collect(),
            taps: Vec::new(),
            interfaces: links
                .iter()
                .map(|link| inspect::interface(link, &addresses))
                .collect(),
            routes: routes
                .iter()
                .filter_map(|r| inspect::route(r, links))
                .collect(),
            neighbours: neighbours
                .iter()
                .filter_map(|n| inspect::neighbour(n, links))
                .collect(),
        })
    }
}

async fn links(handle: &Handle) -> Result<Vec<Link>, NetworkError> {
    let messages: Vec<_> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(read("interfaces"))?;
    Ok(messages.iter().filter_map(inspect::link).collect())
}

fn read(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Read { what, source }
}
