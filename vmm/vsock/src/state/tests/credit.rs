//! How much may be sent.

use super::*;
use crate::state::limits::{LARGE_BUFFER, SMALL_BUFFER};
use crate::state::verdict::Refusal;

#[test]
fn a_guest_that_ignores_its_credit_loses_that_connection_only() {
    let mut connections = connections();
    let (bad, good) = (open(&mut connections, 7), open(&mut connections, 8));
    let whole = data(7, LARGE_BUFFER);
    assert_eq!(connections.receive(&whole, 1 << 20), Verdict::Deliver(bad));
    let verdict = connections.receive(&data(7, 1), 1);
    assert_eq!(verdict, Verdict::Refused(Some(bad), Refusal::Overrun));
    assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
    assert_eq!(connections.receive(&data(8, 1), 1), Verdict::Deliver(good));
    // What it sent while it had credit still reaches the host.
    assert!(connections.host_duty(bad).unwrap().open);
    connections.forwarded(bad, LARGE_BUFFER);
    assert_eq!(connections.host_duty(bad), None);
    assert_eq!(connections.len(), 1);
}

#[test]
fn credit_is_announced_when_it_runs_low_and_when_asked_for() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&data(7, LARGE_BUFFER / 2), 1 << 20);
    connections.forwarded(id, LARGE_BUFFER / 2);
    assert_eq!(connections.next_packet(), None, "half is left");
    connections.receive(&data(7, 1), 1);
    let Some(Outgoing::Packet(update)) = connections.next_packet() else {
        panic!("no update");
    };
    assert_eq!(update.op, Op::CreditUpdate.wire());
    assert_eq!(update.fwd_cnt, LARGE_BUFFER / 2);
    assert_eq!(connections.next_packet(), None);
    connections.receive(&packet(7, Op::CreditRequest), 0);
    assert_eq!(sent(&mut connections), Some((7, Op::CreditUpdate, 0)));
    assert_eq!(connections.next_packet(), None);
}

#[test]
fn without_credit_it_asks_once_and_sends_no_more_than_it_gets() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 1000)));
    assert_eq!(connections.sent(id, 1000).unwrap().len, 1000);
    assert_eq!(sent(&mut connections), Some((7, Op::CreditRequest, 0)));
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), None, "asked already");
    let update = Header {
        fwd_cnt: 400,
        ..packet(7, Op::CreditUpdate)
    };
    connections.receive(&update, 0);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 400)));
    connections.emptied(id);
    assert_eq!(connections.next_packet(), None);
}

#[test]
fn data_carries_credit_so_no_update_follows() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&data(7, 200_000), 1 << 20);
    connections.forwarded(id, 200_000);
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 1000)));
    assert_eq!(connections.sent(id, 5).unwrap().fwd_cnt, 200_000);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 995)));
    connections.emptied(id);
    assert_eq!(connections.next_packet(), None);
}

#[test]
fn an_update_is_not_lost_when_there_is_no_data_after_all() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&data(7, 200_000), 1 << 20);
    connections.forwarded(id, 200_000);
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 1000)));
    connections.emptied(id);
    assert_eq!(sent(&mut connections), Some((7, Op::CreditUpdate, 0)));
}

#[test]
fn later_connections_get_less_memory() {
    let mut connections = connections();
    for port in 0..100 {
        open(&mut connections, port);
    }
    assert!(matches!(
        connections.receive(&data(1, LARGE_BUFFER), 1 << 20),
        Verdict::Deliver(_)
    ));
    assert!(matches!(
        connections.receive(&data(99, SMALL_BUFFER + 1), 1 << 20),
        Verdict::Refused(_, Refusal::Overrun)
    ));
}
