//! The table of connections, packet by packet.

mod closing;
mod credit;
mod opening;

use super::connections::Connections;
use super::packet::{Directions, HOST_CID, Header, Op, TYPE_STREAM};
use super::verdict::{Id, Outgoing, Verdict};

const GUEST: u32 = 3;
const PORT: u32 = 1024;

fn connections() -> Connections {
    Connections::new(GUEST, vec![PORT])
}

/// A packet from the guest's port `from`.
fn packet(from: u32, op: Op) -> Header {
    Header {
        src_cid: GUEST.into(),
        dst_cid: HOST_CID,
        src_port: from,
        dst_port: PORT,
        kind: TYPE_STREAM,
        op: op.wire(),
        buf_alloc: 1000,
        ..Header::default()
    }
}

fn data(from: u32, len: u32) -> Header {
    Header {
        len,
        ..packet(from, Op::Data)
    }
}

fn shutdown(from: u32, directions: Directions) -> Header {
    Header {
        flags: directions.flags(),
        ..packet(from, Op::Shutdown)
    }
}

/// Opens a connection and takes its response.
fn open(connections: &mut Connections, from: u32) -> Id {
    let request = packet(from, Op::Request);
    let Verdict::Open(key) = connections.receive(&request, 0) else {
        panic!("refused");
    };
    let id = connections.open(key, &request);
    assert_eq!(sent(connections), Some((from, Op::Response, 0)));
    id
}

/// The next packet for the guest: its port, operation and flags.
fn sent(connections: &mut Connections) -> Option<(u32, Op, u32)> {
    match connections.next_packet()? {
        Outgoing::Packet(header) => {
            let op = Op::from_wire(header.op).unwrap();
            Some((header.dst_port, op, header.flags))
        }
        Outgoing::Data(id, _) => panic!("{id:?} has data"),
    }
}
