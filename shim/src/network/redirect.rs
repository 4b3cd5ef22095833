//! Joining an interface and its tap: all that arrives at one is sent out by
//! the other, before the host's network stack sees it (tc-mirred(8)).

use futures::TryStreamExt;
use nix::libc;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkUnspec};

use super::NetworkError;
use super::filter::{self, INGRESS, Packet, Verdict};
use super::link::{Link, Tagged};

/// All protocols, `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// Where the filters of tagged packets are, of 802.1Q and of 802.1ad: behind those
/// of the loopback.
const TAGGED: [u16; 2] = [3, 4];

/// A tap as an interface of the pod's namespace.
pub(super) struct TapLink {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) hardware_address: Vec<u8>,
}

/// Redirects between `link` and the tap called `name`, and sets the tap up.
pub(super) async fn connect(
    handle: &Handle,
    link: &Link,
    name: &str,
) -> Result<TapLink, NetworkError> {
    let failed = |step| {
        move |source| NetworkError::Redirect {
            step,
            interface: link.name.clone(),
            source,
        }
    };
    let tap = find(handle, name).await.map_err(failed("find the tap"))?;
    let up = LinkUnspec::new_with_index(tap.index)
        .up()
        .mtu(link.mtu)
        .build();
    handle
        .link()
        .set(up)
        .execute()
        .await
        .map_err(failed("set up the tap"))?;
    take_all_groups(handle, link)
        .await
        .map_err(failed("take the packets for all groups"))?;
    if let Some(tagged) = link.untags {
        leave_tagged(handle, tagged)
            .await
            .map_err(failed("leave tagged packets to the VLAN's interface"))?;
    }
    for (from, to) in [(link.index, tap.index), (tap.index, link.index)] {
        redirect(handle, from, to)
            .await
            .map_err(failed("redirect the packets"))?;
    }
    Ok(tap)
}

async fn find(handle: &Handle, name: &str) -> Result<TapLink, rtnetlink::Error> {
    let found: Vec<LinkMessage> = handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_collect()
        .await?;
    let link = found.first().ok_or(rtnetlink::Error::RequestFailed)?;
    let address = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Address(address) => Some(address.clone()),
            _ => None,
        });
    Ok(TapLink {
        index: link.header.index,
        name: name.to_owned(),
        hardware_address: address.ok_or(rtnetlink::Error::RequestFailed)?,
    })
}

/// The guest joins groups that the namespace's stack does not know of. A part of a
/// card (macvlan, ipvlan) leaves those out that nobody joined.
async fn take_all_groups(handle: &Handle, link: &Link) -> Result<(), rtnetlink::Error> {
    let all = LinkUnspec::new_with_index(link.index).allmulticast(true);
    handle.link().set(all.build()).execute().await
}

/// What an interface receives for a VLAN beside it goes there, and not to the
/// guest's interface of its own.
async fn leave_tagged(handle: &Handle, tagged: Tagged) -> Result<(), rtnetlink::Error> {
    let Tagged { index, service } = tagged;
    ingress(handle, index).await?;
    let packet = Packet::tagged(service);
    filter::add(
        handle,
        index,
        TAGGED[usize::from(service)],
        &packet,
        Verdict::Pass,
    )
    .await
}

async fn redirect(handle: &Handle, from: u32, to: u32) -> Result<(), rtnetlink::Error> {
    ingress(handle, from).await?;
    handle
        .traffic_filter(from.cast_signed())
        .add()
        .parent(INGRESS)
        .protocol(ALL_PROTOCOLS)
        .redirect(to)?
        .execute()
        .await
}

/// Gives the interface of `index` a place for filters, unless a plugin already
/// did, for filters of its own.
async fn ingress(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    let added = handle.qdisc().add(index.cast_signed()).ingress().execute();
    match added.await {
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::EEXIST => {
            Ok(())
        }
        other => other,
    }
}
