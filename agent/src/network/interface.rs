//! Interfaces: found by hardware address, renamed, sized, brought up.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use protocol::agent::Interface;

use super::netlink::{Kind, Netlink};
use super::{NetworkError, named, parse_hardware_address};

/// The devices of the guest's own network namespace.
pub(crate) const CLASS: &str = "/sys/class/net";

/// Index of `lo` in every network namespace.
pub(super) const LOOPBACK: u32 = 1;

/// The pod's interfaces: index by name.
pub(super) struct Links(BTreeMap<String, u32>);

impl Links {
    #[cfg(test)]
    pub(super) fn of(links: &[(&str, u32)]) -> Self {
        let links = links
            .iter()
            .map(|(name, index)| ((*name).to_owned(), *index));
        Self(links.collect())
    }

    pub(super) fn index(&self, name: &str) -> Result<u32, NetworkError> {
        self.0
            .get(name)
            .copied()
            .ok_or_else(|| NetworkError::NoSuchInterface(name.to_owned()))
    }
}

/// The interfaces that are listed in `class`, by the names that they have.
pub(super) fn present(class: &Path) -> Result<Links, NetworkError> {
    let entries = std::fs::read_dir(class).map_err(|e| NetworkError::Read(class.into(), e))?;
    let mut links = BTreeMap::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        links.insert(name, index_of(&entry.path())?);
    }
    Ok(Links(links))
}

pub(super) fn loopback_up(netlink: &mut Netlink) -> Result<(), NetworkError> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    netlink
        .request(Kind::Link, 0, &link)
        .map_err(named("bring up interface lo"))
}

/// Gives each of `wanted` to `namespace`, in the order of their devices, which
/// it keeps.
pub(super) fn hand_over(
    netlink: &mut Netlink,
    wanted: &[Interface],
    namespace: &File,
) -> Result<(), NetworkError> {
    let mut found = find(wanted, Path::new(CLASS))?;
    found.sort_unstable_by_key(|(index, _)| *index);
    for (index, interface) in found {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes
            .push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        netlink
            .request(Kind::Link, 0, &link)
            .map_err(named(format!("hand over interface {}", interface.name)))?;
    }
    Ok(())
}

/// Finds each of `wanted` in the guest and gives it its name and size.
pub(super) fn find_all(
    netlink: &mut Netlink,
    wanted: &[Interface],
    class: &Path,
) -> Result<Links, NetworkError> {
    let found = find(wanted, class)?;
    let mut links = Links(BTreeMap::from([("lo".to_owned(), LOOPBACK)]));
    for (index, interface) in &found {
        links.0.insert(interface.name.clone(), *index);
    }
    step_aside(netlink, &found, class)?;
    for (index, interface) in found {
        netlink
            .request(Kind::Link, 0, &name_and_size(index, interface))
            .map_err(named(format!("name interface {}", interface.name)))?;
    }
    Ok(links)
}

/// Brings up the interface of `index`, which has its name and settings.
pub(super) fn bring_up(
    netlink: &mut Netlink,
    index: u32,
    interface: &Interface,
) -> Result<(), NetworkError> {
    ipv6_settings(interface)?;
    netlink
        .request(Kind::Link, 0, &up(index, interface))
        .map_err(named(format!("bring up interface {}", interface.name)))
}

/// Each of `wanted` with its index.
fn find<'a>(
    wanted: &'a [Interface],
    class: &Path,
) -> Result<Vec<(u32, &'a Interface)>, NetworkError> {
    let mut present = by_hardware_address(class)?;
    let mut found = Vec::new();
    for interface in wanted {
        let address = parse_hardware_address(&interface.hardware_address)?;
        let index = present
            .get_mut(&address)
            .and_then(VecDeque::pop_front)
            .ok_or_else(|| NetworkError::NoSuchAddress(interface.hardware_address.clone()))?;
        found.push((index, interface));
    }
    Ok(found)
}

/// Gives the interfaces names nobody wants, when some are to swap names: the
/// kernel refuses a name that is still another's.
fn step_aside(
    netlink: &mut Netlink,
    found: &[(u32, &Interface)],
    class: &Path,
) -> Result<(), NetworkError> {
    for (name, index) in present(class)?.0 {
        let ours = found.iter().any(|(one, _)| *one == index);
        let anothers = |(other, wanted): &(u32, &Interface)| *other != index && wanted.name == name;
        if ours && found.iter().any(anothers) {
            let mut link = LinkMessage::default();
            link.header.index = index;
            link.attributes
                .push(LinkAttribute::IfName(format!("link{index}")));
            netlink
                .request(Kind::Link, 0, &link)
                .map_err(named(format!("rename {name}")))?;
        }
    }
    Ok(())
}

fn name_and_size(index: u32, interface: &Interface) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes
        .push(LinkAttribute::IfName(interface.name.clone()));
    if interface.mtu > 0 {
        link.attributes.push(LinkAttribute::Mtu(interface.mtu));
    }
    link
}

fn up(index: u32, interface: &Interface) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let flags = flags(interface);
    link.header.flags = flags;
    // What is not asked for stays as it is.
    link.header.change_mask = flags;
    link
}

fn flags(interface: &Interface) -> LinkFlags {
    [
        (interface.no_arp, LinkFlags::Noarp),
        (interface.promiscuous, LinkFlags::Promisc),
        (interface.all_multicast, LinkFlags::Allmulti),
    ]
    .into_iter()
    .filter(|(asked, _)| *asked)
    .fold(LinkFlags::Up, |flags, (_, flag)| flags | flag)
}

/// Those of IPv6 that must be there before the interface is up.
fn ipv6_settings(interface: &Interface) -> Result<(), NetworkError> {
    let conf = Path::new("/proc/sys/net/ipv6/conf").join(&interface.name);
    let has = |prefix: &str| interface.addresses.iter().any(|a| a.contains(prefix));
    if !has(":") || !conf.exists() {
        return Ok(());
    }
    let set = |setting: &str, value: &str| {
        let path = conf.join(setting);
        std::fs::write(&path, value).map_err(|error| NetworkError::Set(path, error))
    };
    // The host's interface holds the same addresses already: probing for
    // duplicates would delay them by a second, and could find the host's.
    set("accept_dad", "0")?;
    if has("fe80:") {
        // It is told its link-local address: it must not make another one.
        set("addr_gen_mode", "1")?;
    }
    Ok(())
}

/// Interfaces of one address, such as those that share a card (ipvlan), are in
/// the order of their devices.
fn by_hardware_address(class: &Path) -> Result<BTreeMap<Vec<u8>, VecDeque<u32>>, NetworkError> {
    let entries = std::fs::read_dir(class).map_err(|e| NetworkError::Read(class.into(), e))?;
    let mut found = BTreeMap::<_, VecDeque<_>>::new();
    for entry in entries {
        let link = entry
            .map_err(|e| NetworkError::Read(class.into(), e))?
            .path();
        let address = parse_hardware_address(read(link.join("address"))?.trim())?;
        found
            .entry(address)
            .or_default()
            .push_back(index_of(&link)?);
    }
    for indexes in found.values_mut() {
        indexes.make_contiguous().sort_unstable();
    }
    Ok(found)
}

fn index_of(link: &Path) -> Result<u32, NetworkError> {
    let text = read(link.join("ifindex"))?;
    text.trim().parse().map_err(|_| NetworkError::Invalid {
        what: "interface index",
        text: text.clone(),
    })
}

fn read(path: PathBuf) -> Result<String, NetworkError> {
    std::fs::read_to_string(&path).map_err(|error| NetworkError::Read(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_their_hardware_address() {
        let class = tempfile::tempdir().unwrap();
        for (name, address, index) in [
            ("lo", "00:00:00:00:00:00", 1),
            ("eth1", "02:00:00:00:00:01", 3),
            ("eth0", "02:00:00:00:00:01", 2),
        ] {
            let link = class.path().join(name);
            std::fs::create_dir(&link).unwrap();
            std::fs::write(link.join("address"), format!("{address}\n")).unwrap();
            std::fs::write(link.join("ifindex"), format!("{index}\n")).unwrap();
        }
        let found = by_hardware_address(class.path()).unwrap();
        assert_eq!(found[[2, 0, 0, 0, 0, 1].as_slice()], [2, 3]);
    }

    #[test]
    fn an_mtu_of_zero_leaves_the_devices_own() {
        let interface = Interface {
            name: "eth0".into(),
            ..Default::default()
        };
        let link = name_and_size(2, &interface);
        assert_eq!(link.attributes, [LinkAttribute::IfName("eth0".into())]);
    }

    #[test]
    fn flags_that_are_asked_for_are_set() {
        let interface = Interface {
            no_arp: true,
            promiscuous: true,
            ..Default::default()
        };
        let expected = LinkFlags::Up | LinkFlags::Noarp | LinkFlags::Promisc;
        let link = up(2, &interface);
        assert_eq!(
            (link.header.flags, link.header.change_mask),
            (expected, expected)
        );
    }
}
