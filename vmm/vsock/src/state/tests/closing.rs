//! How connections end.

use super::*;
use crate::state::limits::CLOSE_TIMEOUT;
use crate::state::verdict::Refusal;
use std::time::Instant;

const SEND: u32 = 2;
const BOTH: u32 = 3;

/// A driver that has reset the device starts with nothing, and may use the same
/// ports again.
#[test]
fn a_guest_that_starts_anew_hears_nothing_of_what_was() {
    let mut connections = connections();
    let [silent, sending, closing] = [7, 8, 9].map(|port| open(&mut connections, port));
    connections.receive(&data(8, 10), 10);
    connections.host_readable(silent);
    connections.host_ended(closing);
    connections.host_gone(closing);
    // A reset, a response, data and a shutdown are owed.
    connections.receive(&packet(20, Op::CreditUpdate), 0);
    let request = packet(21, Op::Request);
    let Verdict::Open(key) = connections.receive(&request, 0) else {
        panic!("refused");
    };
    connections.open(key, &request);

    assert_eq!(connections.forget_guest().len(), 4);
    assert_eq!(connections.next_packet(), None);
    assert_eq!(connections.len(), 1, "what the host has not taken yet");
    assert_eq!(connections.held(), 10);
    open(&mut connections, 8);
    connections.forwarded(sending, 10);
    assert_eq!(connections.len(), 1);
}

#[test]
fn half_closed_by_the_guest_it_still_sends() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&data(7, 10), 10);
    connections.receive(&shutdown(7, Directions::SEND), 0);
    let duty = connections.host_duty(id).unwrap();
    assert!(duty.open && !duty.shut_write, "not before it has all");
    connections.forwarded(id, 10);
    assert!(connections.host_duty(id).unwrap().shut_write);
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), Some(Outgoing::Data(id, 1000)));
    let verdict = connections.receive(&data(7, 1), 1);
    assert_eq!(verdict, Verdict::Refused(Some(id), Refusal::Overrun));
}

#[test]
fn half_closed_by_the_host_it_still_takes() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.host_ended(id);
    assert_eq!(sent(&mut connections), Some((7, Op::Shutdown, SEND)));
    assert_eq!(connections.receive(&data(7, 10), 10), Verdict::Deliver(id));
    connections.receive(&shutdown(7, Directions::BOTH), 0);
    assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
    assert!(connections.host_duty(id).unwrap().open, "10 octets wait");
    connections.forwarded(id, 10);
    assert!(connections.is_empty());
}

#[test]
fn a_guest_that_takes_no_more_is_sent_no_more() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&shutdown(7, Directions::RECEIVE), 0);
    assert!(connections.host_duty(id).unwrap().shut_read);
    connections.host_readable(id);
    assert_eq!(connections.next_packet(), None);
    assert_eq!(connections.receive(&data(7, 10), 10), Verdict::Deliver(id));
}

#[test]
fn a_host_that_takes_no_more_is_told_and_data_under_way_is_dropped() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.receive(&data(7, 10), 10);
    connections.host_gone(id);
    assert_eq!(sent(&mut connections), Some((7, Op::Shutdown, 1)));
    assert_eq!(connections.receive(&data(7, 10), 10), Verdict::Done);
    assert_eq!(connections.held(), 0);
    connections.host_ended(id);
    assert_eq!(sent(&mut connections), Some((7, Op::Shutdown, BOTH)));
}

/// Both directions over, told to the guest.
fn closing(connections: &mut Connections) -> Id {
    let id = open(connections, 7);
    connections.host_gone(id);
    connections.host_ended(id);
    assert_eq!(sent(connections), Some((7, Op::Shutdown, BOTH)));
    assert!(!connections.host_duty(id).unwrap().open);
    id
}

#[test]
fn a_close_is_complete_when_the_guest_resets() {
    let mut connections = connections();
    closing(&mut connections);
    connections.receive(&packet(7, Op::Reset), 0);
    assert!(connections.is_empty());
    assert_eq!(connections.next_packet(), None);
}

#[test]
fn a_guest_that_owes_the_reset_too_long_is_reset() {
    let mut connections = connections();
    closing(&mut connections);
    assert!(connections.has_new_closing());
    let start = Instant::now();
    assert_eq!(connections.tick(start), Some(start + CLOSE_TIMEOUT));
    assert!(!connections.has_new_closing());
    connections.receive(&data(7, 10), 10);
    assert_eq!(
        connections.tick(start + CLOSE_TIMEOUT / 2),
        Some(start + CLOSE_TIMEOUT)
    );
    assert_eq!(connections.next_packet(), None);
    assert_eq!(connections.tick(start + CLOSE_TIMEOUT), None);
    assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
    assert!(connections.is_empty());
}

#[test]
fn the_clock_starts_when_the_guest_was_told() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    connections.host_gone(id);
    connections.host_ended(id);
    assert_eq!(connections.tick(Instant::now()), None);
    assert_eq!(sent(&mut connections), Some((7, Op::Shutdown, BOTH)));
    assert!(connections.tick(Instant::now()).is_some());
}

#[test]
fn an_address_that_closes_may_be_used_anew() {
    let mut connections = connections();
    let old = closing(&mut connections);
    let new = open(&mut connections, 7);
    assert_ne!(old, new);
    assert_eq!(connections.len(), 1);
    assert_eq!(connections.receive(&data(7, 1), 1), Verdict::Deliver(new));
}

#[test]
fn a_draining_connection_does_not_hold_its_address() {
    let mut connections = connections();
    let old = open(&mut connections, 7);
    connections.receive(&data(7, 5), 5);
    connections.receive(&shutdown(7, Directions::BOTH), 0);
    assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
    let new = open(&mut connections, 7);
    connections.receive(&data(7, 6), 6);
    connections.forwarded(old, 5);
    assert_eq!(connections.host_duty(old), None);
    assert_eq!(connections.held(), 6);
    assert!(connections.host_duty(new).unwrap().open);
}
