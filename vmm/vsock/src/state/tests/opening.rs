//! Who gets a connection, and what is answered to the others.

use super::*;
use crate::state::connection::Key;
use crate::state::limits::{LARGE_BUFFER, MAX_CONNECTIONS, MAX_REPLIES};
use crate::state::verdict::Refusal;

#[test]
fn a_connection_opens_and_its_first_packet_grants_credit() {
    let mut connections = connections();
    let request = packet(7, Op::Request);
    let verdict = connections.receive(&request, 0);
    let key = Key {
        guest_port: 7,
        host_port: PORT,
    };
    assert_eq!(verdict, Verdict::Open(key));
    connections.open(key, &request);
    let Some(Outgoing::Packet(header)) = connections.next_packet() else {
        panic!("no response");
    };
    assert_eq!((header.src_cid, header.dst_cid), (2, 3));
    assert_eq!((header.src_port, header.dst_port), (PORT, 7));
    assert_eq!((header.buf_alloc, header.fwd_cnt), (LARGE_BUFFER, 0));
    assert!(!connections.has_output());
}

#[test]
fn what_belongs_nowhere_is_answered_with_a_reset_but_a_reset_is_not() {
    let elsewhere = [
        Header {
            dst_port: PORT + 1,
            ..packet(7, Op::Request)
        },
        Header {
            dst_cid: 5,
            ..packet(7, Op::Request)
        },
        Header {
            src_cid: 4,
            ..packet(7, Op::Request)
        },
        Header {
            kind: 2,
            ..packet(7, Op::Request)
        },
        Header {
            op: 99,
            ..packet(7, Op::Request)
        },
        packet(7, Op::Response),
        data(7, 0),
        packet(7, Op::CreditRequest),
        shutdown(7, Directions::BOTH),
    ];
    for header in elsewhere {
        let mut connections = connections();
        let verdict = connections.receive(&header, 0);
        assert!(matches!(verdict, Verdict::Refused(None, _)), "{header:?}");
        assert_eq!(
            connections.next_packet(),
            Some(Outgoing::Packet(header.reset()))
        );
        assert_eq!(connections.next_packet(), None);
        let reset = Header {
            op: Op::Reset.wire(),
            ..header
        };
        assert_eq!(connections.receive(&reset, 0), Verdict::Done);
        assert_eq!(connections.next_packet(), None);
    }
}

#[test]
fn a_packet_shorter_than_its_header_says_ends_its_connection() {
    let mut connections = connections();
    let id = open(&mut connections, 7);
    let verdict = connections.receive(&data(7, 100), 99);
    assert_eq!(verdict, Verdict::Refused(Some(id), Refusal::Truncated));
    assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
    assert!(connections.is_empty());
}

#[test]
fn a_second_request_or_a_strange_operation_ends_the_connection() {
    for op in [1, 2, 0, 8, u16::MAX] {
        let mut connections = connections();
        open(&mut connections, 7);
        let strange = Header {
            op,
            ..packet(7, Op::Request)
        };
        let verdict = connections.receive(&strange, 0);
        assert!(matches!(
            verdict,
            Verdict::Refused(Some(_), Refusal::Operation)
        ));
        assert_eq!(sent(&mut connections), Some((7, Op::Reset, 0)));
        assert!(connections.is_empty());
    }
}

#[test]
fn everyone_has_a_turn() {
    let mut connections = connections();
    let ids: Vec<Id> = (1..=3).map(|port| open(&mut connections, port)).collect();
    for id in &ids {
        connections.host_readable(*id);
    }
    for round in 0..4 {
        for id in &ids {
            let Some(Outgoing::Data(turn, limit)) = connections.next_packet() else {
                panic!("no data");
            };
            assert_eq!((turn, limit), (*id, 1000 - 10 * round));
            connections.sent(turn, 10);
        }
    }
}

#[test]
fn there_is_an_end_to_connections_and_to_replies() {
    let mut connections = connections();
    let most = u32::try_from(MAX_CONNECTIONS).unwrap();
    for port in 0..most {
        open(&mut connections, port);
    }
    let verdict = connections.receive(&packet(most, Op::Request), 0);
    assert_eq!(verdict, Verdict::Refused(None, Refusal::Full));
    let mut resets = 1;
    while !connections.is_congested() {
        connections.receive(&packet(most, Op::CreditRequest), 0);
        resets += 1;
    }
    assert_eq!(resets, MAX_REPLIES);
    for _ in 0..resets {
        assert_eq!(sent(&mut connections), Some((most, Op::Reset, 0)));
    }
    assert!(!connections.is_congested() && !connections.has_output());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut connections = connections();
    for _ in 0..3 * MAX_CONNECTIONS {
        let request = packet(7, Op::Request);
        let Verdict::Open(key) = connections.receive(&request, 0) else {
            panic!("refused");
        };
        connections.open(key, &request);
        connections.receive(&packet(7, Op::Reset), 0);
    }
    assert!(connections.is_empty());
    assert!(!connections.has_output(), "nobody to answer");
}
