//! Joining an interface and its tap: all that arrives at one is sent out by
//! the other, before the host's network stack sees it (tc-mirred(8)).

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec};

use super::NetworkError;
use super::inspect::Link;

/// Parent of filters on an ingress qdisc: `ffff:` (tc(8)).
const INGRESS: u32 = 0xffff_0000;
/// All protocols, `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// Redirects between `link` and the tap called `tap`, and sets the tap up.
pub(super) async fn connect(handle: &Handle, link: &Link, tap: &str) -> Result<(), NetworkError> {
    let failed = |step| {
        move |source| NetworkError::Redirect {
            step,
            interface: link.name.clone(),
            source,
        }
    };
    let tap = index(handle, tap).await.map_err(failed("find the tap"))?;
    let up = LinkUnspec::new_with_index(tap).up().mtu(link.mtu).build();
    handle
        .link()
        .set(up)
        .execute()
        .await
        .map_err(failed("set up the tap"))?;
    for (from, to) in [(link.index, tap), (tap, link.index)] {
        redirect(handle, from, to)
            .await
            .map_err(failed("redirect the packets"))?;
    }
    Ok(())
}

async fn index(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let found: Vec<LinkMessage> = handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_collect()
        .await?;
    found
        .first()
        .map(|link| link.header.index)
        .ok_or(rtnetlink::Error::RequestFailed)
}

async fn redirect(handle: &Handle, from: u32, to: u32) -> Result<(), rtnetlink::Error> {
    let index = from.cast_signed();
    handle.qdisc().replace(index).ingress().execute().await?;
    handle
        .traffic_filter(index)
        .add()
        .parent(INGRESS)
        .protocol(ALL_PROTOCOLS)
        .redirect(to)?
        .execute()
        .await
}
