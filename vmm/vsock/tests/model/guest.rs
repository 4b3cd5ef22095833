//! One socket of a guest that keeps the rules.

use vsock_device::state::packet::{Directions, Header, Op, TYPE_STREAM};

/// The guest's receive buffer, octets.
const BUFFER: u32 = 100_000;

/// The octet at a position of a stream. Each direction of each connection has
/// a stream of its own.
pub(crate) fn octet(stream: u64, position: u64) -> u8 {
    let mixed = (stream << 40 ^ position).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    port: u32,
    pub(crate) established: bool,
    /// Nothing more can happen to it.
    pub(crate) done: bool,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    read: u64,
    peer_buf_alloc: u32,
    peer_fwd_cnt: u32,
    /// What it has given up itself, and what the host has.
    pub(crate) own: Directions,
    pub(crate) peer: Directions,
}

impl Socket {
    pub(crate) fn new(port: u32) -> Self {
        Self {
            port,
            established: false,
            done: false,
            sent: 0,
            received: 0,
            read: 0,
            peer_buf_alloc: 0,
            peer_fwd_cnt: 0,
            own: Directions::NONE,
            peer: Directions::NONE,
        }
    }

    /// Octets it may send now.
    pub(crate) fn credit(&self) -> u32 {
        let under_way = low(self.sent).wrapping_sub(self.peer_fwd_cnt);
        self.peer_buf_alloc.saturating_sub(under_way)
    }

    pub(crate) fn may_send(&self) -> bool {
        self.established
            && !self.done
            && !self.own.contains(Directions::SEND)
            && !self.peer.contains(Directions::RECEIVE)
    }

    /// The application reads. Whether the window has opened enough to say so.
    pub(crate) fn read(&mut self, len: u64) -> bool {
        let unread = self.received - self.read;
        self.read += len.min(unread);
        self.established && !self.done && len > 0 && unread > 0
    }

    pub(crate) fn header(&self, op: Op) -> Header {
        Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: self.port,
            dst_port: 1025,
            kind: TYPE_STREAM,
            op: op.wire(),
            buf_alloc: BUFFER,
            fwd_cnt: low(self.read),
            ..Header::default()
        }
    }

    /// A packet from the device. The answer it needs, if any.
    pub(crate) fn receive(&mut self, header: &Header, payload: &[u8]) -> Option<Header> {
        assert_eq!((header.src_cid, header.dst_cid), (2, 3));
        assert_eq!(header.src_port, 1025);
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_fwd_cnt = header.fwd_cnt;
        let op = Op::from_wire(header.op).expect("an operation");
        assert!(
            self.established || matches!(op, Op::Response | Op::Reset),
            "{op:?} before"
        );
        match op {
            Op::Response => {
                assert!(!self.established, "a second response");
                self.established = true;
            }
            Op::Reset => {
                // Only as an answer to a complete shutdown.
                assert!(self.own.contains(Directions::BOTH), "reset for no reason");
                self.done = true;
            }
            Op::Shutdown => return self.peer_gives_up(header),
            Op::Data => self.take(payload),
            Op::CreditRequest => return Some(self.header(Op::CreditUpdate)),
            Op::CreditUpdate => {}
            Op::Request => panic!("the host dials"),
        }
        None
    }

    fn peer_gives_up(&mut self, header: &Header) -> Option<Header> {
        let directions = Directions::from_flags(header.flags);
        assert!(
            directions.contains(self.peer) && directions != self.peer,
            "no news"
        );
        self.peer = directions;
        if !self.peer.contains(Directions::BOTH) {
            return None;
        }
        self.done = true;
        Some(self.header(Op::Reset))
    }

    fn take(&mut self, payload: &[u8]) {
        assert!(!payload.is_empty(), "data without data");
        assert!(!self.peer.contains(Directions::SEND), "data behind the end");
        for octet_received in payload {
            let expected = octet(u64::from(self.port) * 2 + 1, self.received);
            assert_eq!(*octet_received, expected, "at {}", self.received);
            self.received += 1;
        }
        assert!(
            self.received - self.read <= u64::from(BUFFER),
            "more than granted"
        );
    }
}

/// The counters of the protocol run modulo 2^32.
fn low(count: u64) -> u32 {
    u32::try_from(count & 0xffff_ffff).expect("32 bits")
}
