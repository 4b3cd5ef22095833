//! The pod's localhost is the guest's: who enters the pod's network namespace on
//! the host and dials 127.0.0.1 or `::1` (a port-forward of containerd) reaches
//! what listens there in the guest.
//!
//! ```text
//! connect 127.0.0.1 ─ route ─▶ tap ═▶ guest: eth0, lets it in
//!     from 127.107.97.1        tap ◀═ reply 127.0.0.1 → 127.107.97.1, passed on
//! connect ::1 ─────── route ─▶ tap ═▶ guest: eth0 ─ redirect ─▶ lo
//!     from fd6b:6174:61::1  lo ◀─ redirect ─ tap ◀═ reply ::1 → fd6b:6174:61::1
//! ```
//!
//! No process stands in between: refusals, half-closes and flow control are the
//! guest's own. Nobody else may speak so to the guest: what arrives for a
//! loopback address from the network is left to the namespace's stack, which
//! drops it as every stack does (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::{fs, io};

use nix::libc;
use protocol::agent::Loopback;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{Error, Handle, RouteMessageBuilder};

use super::filter::{self, Packet, Verdict};
use super::inspect::LO;
use super::link::{self, Link};
use super::redirect::TapLink;
use super::route::LOCAL;
use super::{NetworkError, namespace};

/// Whom the guest sees: a loopback address that nobody else uses.
const HOST_V4: Ipv4Addr = Ipv4Addr::new(127, 107, 97, 1);
/// IPv6 has one loopback address only: a unique local one (RFC 4193) it is.
pub(super) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6174, 0x61, 0, 0, 0, 0, 1);

const CONF_V4: &str = "/proc/sys/net/ipv4/conf";
const CONF_V6: &str = "/proc/sys/net/ipv6/conf";

/// Leads connections to localhost in the namespace at `path` to the guest
/// behind `tap`, whose interface is `link`'s. Says what the guest has to do.
pub(super) async fn lead(
    handle: &Handle,
    path: &Path,
    link: &Link,
    tap: &TapLink,
) -> Result<Loopback, NetworkError> {
    let v6 = namespace::run_in(path, || settings(&tap.name, &link.name))?.map_err(|source| {
        NetworkError::LoopbackSettings {
            tap: tap.name.clone(),
            source,
        }
    })?;
    let failed = |step| move |source| NetworkError::Loopback { step, source };
    guard(handle, link)
        .await
        .map_err(failed("keep the network from the guest's localhost"))?;
    replies(handle, tap, v6)
        .await
        .map_err(failed("let the guest's replies in"))?;
    let guest = link::mac_bytes(&link.mac);
    if v6 {
        lead_v6(handle, tap, &guest)
            .await
            .map_err(failed("lead ::1 to the guest"))?;
    }
    lead_v4(handle, tap, &guest)
        .await
        .map_err(failed("lead 127.0.0.1 to the guest"))?;
    Ok(Loopback {
        interface: link.name.clone(),
        host_hardware_address: link::mac(&tap.hardware_address),
        host_ipv4: HOST_V4.to_string(),
        host_ipv6: if v6 {
            HOST_V6.to_string()
        } else {
            String::new()
        },
        ..Default::default()
    })
}

/// Lets the tap carry loopback addresses: nothing reaches the stack through it
/// but the replies. Returns whether the namespace has IPv6, and on its interface,
/// through which the guest is asked.
fn settings(tap: &str, interface: &str) -> io::Result<bool> {
    let v4 = Path::new(CONF_V4).join(tap);
    for name in ["route_localnet", "accept_local"] {
        fs::write(v4.join(name), "1")?;
    }
    let disabled = |name: &str| Path::new(CONF_V6).join(name).join("disable_ipv6");
    let enabled = |name| fs::read_to_string(disabled(name)).is_ok_and(|text| text.trim() == "0");
    let has_v6 = enabled("lo") && enabled(interface);
    if has_v6 {
        fs::write(disabled(tap), "0")?;
    }
    Ok(has_v6)
}

async fn guard(handle: &Handle, link: &Link) -> Result<(), Error> {
    let v4 = Packet::ipv4().v4_to(Ipv4Addr::LOCALHOST, 8);
    filter::add(handle, link.index, 1, &v4, Verdict::Pass).await?;
    let v6 = Packet::ipv6().v6_to(Ipv6Addr::LOCALHOST);
    filter::add(handle, link.index, 2, &v6, Verdict::Pass).await
}

async fn replies(handle: &Handle, tap: &TapLink, v6: bool) -> Result<(), Error> {
    let reply = Packet::ipv4()
        .tcp()
        .v4_from(Ipv4Addr::LOCALHOST)
        .v4_to(HOST_V4, 32);
    filter::add(handle, tap.index, 1, &reply, Verdict::Pass).await?;
    if v6 {
        let reply = Packet::ipv6()
            .tcp()
            .v6_from(Ipv6Addr::LOCALHOST)
            .v6_to(HOST_V6);
        // The stack takes ::1 from no other interface.
        filter::add(handle, tap.index, 2, &reply, Verdict::ArriveAt(LO)).await?;
    }
    Ok(())
}

/// Takes the place of the kernel's own route to 127.0.0.1.
async fn lead_v4(handle: &Handle, tap: &TapLink, guest: &[u8]) -> Result<(), Error> {
    neighbour(handle, tap, Ipv4Addr::LOCALHOST.into(), guest).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::LOCALHOST, 32)
        .pref_source(HOST_V4)
        .output_interface(tap.index)
        .table_id(LOCAL)
        .scope(RouteScope::Link)
        .build();
    handle.route().add(route).replace().execute().await
}

async fn lead_v6(handle: &Handle, tap: &TapLink, guest: &[u8]) -> Result<(), Error> {
    neighbour(handle, tap, Ipv6Addr::LOCALHOST.into(), guest).await?;
    let mut address = handle.address().add(LO, HOST_V6.into(), 128).replace();
    // No route may name it as long as it is probed for duplicates.
    let flags = AddressAttribute::Flags(AddressFlags::Nodad);
    address.message_mut().attributes.push(flags);
    address.execute().await?;
    let route = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::LOCALHOST, 128)
        .pref_source(HOST_V6)
        .output_interface(tap.index)
        .table_id(LOCAL)
        .build();
    handle.route().add(route).replace().execute().await?;
    // The kernel's own is preferred as long as it is there.
    let removed = handle.route().del(own_v6()).execute().await;
    removed.or_else(unless_absent)
}

/// The kernel's route to `::1`.
fn own_v6() -> RouteMessage {
    RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::LOCALHOST, 128)
        .output_interface(LO)
        .table_id(LOCAL)
        .kind(RouteType::Local)
        // Whoever's it is: the kernel's.
        .protocol(RouteProtocol::Unspec)
        .build()
}

fn unless_absent(error: Error) -> Result<(), Error> {
    match error {
        Error::NetlinkError(message) if message.raw_code() == -libc::ESRCH => Ok(()),
        other => Err(other),
    }
}

async fn neighbour(
    handle: &Handle,
    tap: &TapLink,
    address: IpAddr,
    guest: &[u8],
) -> Result<(), Error> {
    handle
        .neighbours()
        .add(tap.index, address)
        .link_layer_address(guest)
        .replace()
        .execute()
        .await
}

#[cfg(test)]
mod tests;
