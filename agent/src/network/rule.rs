//! Rules by which the routing table of a packet is found (ip-rule(8)).

use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use protocol::agent::{Family, Rule};

use super::netlink::{CREATE, Kind, Netlink};
use super::{Cidr, NetworkError, named, optional_cidr};

/// Adds `rule`, unless it is there.
pub(super) fn add(netlink: &mut Netlink, rule: &Rule) -> Result<(), NetworkError> {
    match netlink.request(Kind::Rule, CREATE, &message(rule)?) {
        Err(error) if error.already() => Ok(()),
        other => other.map_err(named(format!("add rule for table {}", rule.table))),
    }
}

/// Removes `rule`.
pub(super) fn remove(netlink: &mut Netlink, rule: &Rule) -> Result<(), NetworkError> {
    netlink
        .remove(Kind::Rule, &message(rule)?)
        .map_err(named(format!("remove rule for table {}", rule.table)))
}

fn message(rule: &Rule) -> Result<RuleMessage, NetworkError> {
    let mut message = RuleMessage::default();
    message.header.action = RuleAction::ToTable;
    message.header.family = match rule.family.enum_value_or_default() {
        Family::FAMILY_IPV6 => AddressFamily::Inet6,
        _ => AddressFamily::Inet,
    };
    if rule.invert {
        message.header.flags |= RuleFlags::Invert;
    }
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    if let Some(Cidr { address, prefix }) = optional_cidr(&rule.from)? {
        message.header.src_len = prefix;
        attributes.push(RuleAttribute::Source(address));
    }
    if let Some(Cidr { address, prefix }) = optional_cidr(&rule.to)? {
        message.header.dst_len = prefix;
        attributes.push(RuleAttribute::Destination(address));
    }
    attributes.extend(names(rule));
    if rule.mark != 0 || rule.mark_mask != 0 {
        attributes.push(RuleAttribute::FwMark(rule.mark));
        attributes.push(RuleAttribute::FwMask(rule.mark_mask));
    }
    Ok(message)
}

fn names(rule: &Rule) -> impl Iterator<Item = RuleAttribute> {
    let input = Some(rule.input_interface.clone()).filter(|name| !name.is_empty());
    let output = Some(rule.output_interface.clone()).filter(|name| !name.is_empty());
    let input = input.map(RuleAttribute::Iifname);
    input.into_iter().chain(output.map(RuleAttribute::Oifname))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_rule_has_what_was_told_and_no_more() {
        let rule = Rule {
            priority: 7,
            table: 100,
            from: "10.0.0.5/32".into(),
            output_interface: "net1".into(),
            ..Default::default()
        };
        let message = message(&rule).unwrap();
        assert_eq!((message.header.src_len, message.header.dst_len), (32, 0));
        let expected = [
            RuleAttribute::Priority(7),
            RuleAttribute::Table(100),
            RuleAttribute::Source(IpAddr::from([10, 0, 0, 5])),
            RuleAttribute::Oifname("net1".into()),
        ];
        assert_eq!(message.attributes, expected);
    }
}
