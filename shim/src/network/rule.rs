//! Netlink's words about routing rules, turned into the agent's. Pure.

use std::net::IpAddr;

use protocol::agent::Rule;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::route::family;

/// The rules of every namespace: priority and table (ip-rule(8)).
const INITIAL: [(u32, u32); 3] = [(0, 255), (32766, 254), (32767, 253)];

/// A rule of a namespace.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Any namespace has it.
    Initial,
    Rule(Rule),
    /// It asks for what the agent has no words for.
    Unknown,
}

pub(super) fn rule(message: &RuleMessage) -> Found {
    let header = &message.header;
    let Some(family) = family(header.family) else {
        return Found::Initial;
    };
    let mut rule = Rule {
        family: family.into(),
        table: header.table.into(),
        invert: header.flags.contains(RuleFlags::Invert),
        ..Default::default()
    };
    let mut known = header.action == RuleAction::ToTable && header.tos == 0;
    for attribute in &message.attributes {
        known &= apply(&mut rule, attribute, header.src_len, header.dst_len);
    }
    let everything = Rule {
        family: rule.family,
        priority: rule.priority,
        table: rule.table,
        ..Default::default()
    };
    match known {
        true if rule == everything && INITIAL.contains(&(rule.priority, rule.table)) => {
            Found::Initial
        }
        true => Found::Rule(rule),
        false => Found::Unknown,
    }
}

/// Whether the agent has a word for it.
fn apply(rule: &mut Rule, attribute: &RuleAttribute, from: u8, to: u8) -> bool {
    match attribute {
        RuleAttribute::Source(ip) => rule.from = cidr(*ip, from),
        RuleAttribute::Destination(ip) => rule.to = cidr(*ip, to),
        RuleAttribute::Iifname(name) => rule.input_interface.clone_from(name),
        RuleAttribute::Oifname(name) => rule.output_interface.clone_from(name),
        RuleAttribute::Priority(priority) => rule.priority = *priority,
        RuleAttribute::FwMark(mark) => rule.mark = *mark,
        RuleAttribute::FwMask(mask) => rule.mark_mask = *mask,
        RuleAttribute::Table(table) => rule.table = *table,
        // Who made it, and what is told of every rule: not suppressed.
        RuleAttribute::Protocol(_) => {}
        RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
        _ => return false,
    }
    true
}

fn cidr(address: IpAddr, prefix: u8) -> String {
    format!("{address}/{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::AddressFamily;

    fn message(attributes: Vec<RuleAttribute>) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.attributes = attributes;
        message
            .attributes
            .push(RuleAttribute::SuppressPrefixLen(u32::MAX));
        message
    }

    #[test]
    fn the_three_of_every_namespace_are_no_news() {
        let main = message(vec![
            RuleAttribute::Priority(32766),
            RuleAttribute::Table(254),
        ]);
        assert_eq!(rule(&main), Found::Initial);
    }

    #[test]
    fn a_table_for_what_comes_from_an_address() {
        let mut message = message(vec![
            RuleAttribute::Table(100),
            RuleAttribute::Source([10, 0, 0, 5].into()),
        ]);
        message.header.src_len = 32;
        let Found::Rule(found) = rule(&message) else {
            panic!("it is not told");
        };
        assert_eq!((found.from.as_str(), found.table), ("10.0.0.5/32", 100));
    }

    #[test]
    fn what_cannot_be_told_is_not_told_by_halves() {
        let port = RuleAttribute::IpProtocol(6.into());
        let message = message(vec![RuleAttribute::Table(100), port]);
        assert_eq!(rule(&message), Found::Unknown);
    }
}
