//! The guest's network, configured like the pod's network namespace on the
//! host: what a CNI plugin left there arrives in `CreateSandbox`, what becomes of it
//! in `UpdateNetwork`.

mod address;
mod interface;
mod loopback;
mod neighbour;
mod netlink;
mod route;
mod rule;

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use protocol::agent::{
    CreateSandboxRequest, Interface, NetworkState, Sysctl, UpdateNetworkRequest,
};

pub(crate) use interface::CLASS as DEVICES;
pub(crate) use netlink::NetlinkError;

use interface::Links;
use netlink::Netlink;

use crate::pod::sysctl;

/// What the host asked for and cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("{what} {text:?} is not valid")]
    Invalid { what: &'static str, text: String },
    #[error("the guest has no interface with hardware address {0}")]
    NoSuchAddress(String),
    #[error("no interface is named {0:?}")]
    NoSuchInterface(String),
    #[error("{0}")]
    Netlink(String, #[source] NetlinkError),
    #[error("set {0:?}")]
    Set(std::path::PathBuf, #[source] std::io::Error),
    #[error("read {0:?}")]
    Read(std::path::PathBuf, #[source] std::io::Error),
}

/// Gives `interfaces` of this network namespace to `namespace`.
pub(crate) fn hand_over(interfaces: &[Interface], namespace: &File) -> Result<(), NetworkError> {
    let mut netlink = Netlink::open().map_err(named("open a netlink socket"))?;
    interface::hand_over(&mut netlink, interfaces, namespace)
}

/// Brings up the loopback interface and everything `request` lists, in the calling
/// thread's network namespace, whose devices are listed in `devices` (as in
/// `/sys/class/net`).
pub(crate) fn configure(
    request: &CreateSandboxRequest,
    devices: &Path,
) -> Result<(), NetworkError> {
    let mut netlink = Netlink::open().map_err(named("open a netlink socket"))?;
    interface::loopback_up(&mut netlink)?;
    let interfaces = &request.network.interfaces;
    if interfaces.is_empty() {
        return Ok(());
    }
    let links = interface::find_all(&mut netlink, interfaces, devices)?;
    // Some say what an interface does as soon as it is up.
    request.network_sysctls.iter().for_each(set);
    for wanted in interfaces {
        interface::bring_up(&mut netlink, links.index(&wanted.name)?, wanted)?;
    }
    add(&mut netlink, &links, &request.network)?;
    if let Some(wanted) = request.loopback.as_ref() {
        loopback::open(&mut netlink, links.index(&wanted.interface)?, wanted)?;
    }
    Ok(())
}

/// Makes addresses, routes, rules and neighbours what `request` says, in the calling
/// thread's network namespace, whose devices are listed in `devices`.
pub(crate) fn update(request: &UpdateNetworkRequest, devices: &Path) -> Result<(), NetworkError> {
    let mut netlink = Netlink::open().map_err(named("open a netlink socket"))?;
    let links = interface::present(devices)?;
    // Twice: an interface that loses its last address loses its routes, and what
    // stands in the way now may be what has to go.
    let _ = add(&mut netlink, &links, &request.present);
    let removed = remove(&mut netlink, &links, &request.gone);
    add(&mut netlink, &links, &request.present).and(removed)
}

/// Adds what is not there. One that is refused keeps none of the others away.
fn add(netlink: &mut Netlink, links: &Links, state: &NetworkState) -> Result<(), NetworkError> {
    let mut all = Ok(());
    for wanted in &state.interfaces {
        for cidr in &wanted.addresses {
            let index = links.index(&wanted.name);
            all = all.and(index.and_then(|index| address::add(netlink, index, cidr)));
        }
    }
    for route in route::in_working_order(&state.routes) {
        all = all.and(route::add(netlink, links, route));
    }
    for wanted in &state.rules {
        all = all.and(rule::add(netlink, wanted));
    }
    for wanted in &state.neighbours {
        let index = links.index(&wanted.interface);
        all = all.and(index.and_then(|index| neighbour::add(netlink, index, wanted)));
    }
    all
}

/// Takes away what is there.
fn remove(netlink: &mut Netlink, links: &Links, state: &NetworkState) -> Result<(), NetworkError> {
    let mut all = Ok(());
    for gone in &state.neighbours {
        let index = links.index(&gone.interface);
        all = all.and(index.and_then(|index| neighbour::remove(netlink, index, gone)));
    }
    for gone in &state.rules {
        all = all.and(rule::remove(netlink, gone));
    }
    for gone in &state.routes {
        all = all.and(route::remove(netlink, links, gone));
    }
    for gone in &state.interfaces {
        for cidr in &gone.addresses {
            let index = links.index(&gone.name);
            all = all.and(index.and_then(|index| address::remove(netlink, index, cidr)));
        }
    }
    all
}

/// What the host's kernel has and this one has not is no reason for a pod not to
/// be.
fn set(wanted: &Sysctl) {
    if let Err(error) = sysctl::set(&wanted.name, &wanted.value) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            "a setting of the pod's network namespace is left out"
        );
    }
}

/// Names a failed netlink request by what it was for.
fn named(what: impl Into<String>) -> impl FnOnce(NetlinkError) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Netlink(what, source)
}

/// An address with its prefix length: `10.0.0.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError::Invalid {
            what: "address",
            text: text.to_owned(),
        };
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

fn optional_cidr(text: &str) -> Result<Option<Cidr>, NetworkError> {
    if text.is_empty() {
        Ok(None)
    } else {
        Cidr::parse(text).map(Some)
    }
}

/// The bytes of `02:00:00:00:00:01`.
fn parse_hardware_address(text: &str) -> Result<Vec<u8>, NetworkError> {
    let invalid = || NetworkError::Invalid {
        what: "hardware address",
        text: text.to_owned(),
    };
    text.split(':')
        .map(|byte| u8::from_str_radix(byte, 16).map_err(|_| invalid()))
        .collect()
}

fn parse_ip(text: &str) -> Result<IpAddr, NetworkError> {
    text.parse().map_err(|_| NetworkError::Invalid {
        what: "address",
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        assert!(Cidr::parse("10.0.0.1/33").is_err());
        assert!(Cidr::parse("10.0.0.1").is_err());
        let cidr = Cidr::parse("fd00::2/64").unwrap();
        assert_eq!(cidr.prefix, 64);
    }

    #[test]
    fn a_hardware_address_is_hexadecimal_bytes() {
        assert_eq!(
            parse_hardware_address("02:00:0A:ff").unwrap(),
            [2, 0, 10, 255]
        );
        assert!(parse_hardware_address("02:0g").is_err());
    }
}
