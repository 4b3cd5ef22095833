//! The packet header (virtio 1.2, section 5.10.6).

/// Octets of a header on the wire.
pub const HEADER_LEN: usize = 44;

/// Context id of the host (section 5.10.4).
pub const HOST_CID: u64 = 2;

/// `VIRTIO_VSOCK_TYPE_STREAM`, the one socket type this device has.
pub const TYPE_STREAM: u16 = 1;

/// One header as it was on the wire: nothing in it has been checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Octets of payload behind the header.
    pub len: u32,
    /// Socket type.
    pub kind: u16,
    /// Operation, see [`Op`].
    pub op: u16,
    /// Meaning depends on the operation.
    pub flags: u32,
    /// The sender's receive buffer, octets (section 5.10.6.3).
    pub buf_alloc: u32,
    /// Octets the sender has taken out of that buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads the little-endian fields.
    #[must_use]
    pub fn decode(wire: &[u8; HEADER_LEN]) -> Self {
        Self {
            src_cid: u64::from_le_bytes(field(wire, 0)),
            dst_cid: u64::from_le_bytes(field(wire, 8)),
            src_port: u32::from_le_bytes(field(wire, 16)),
            dst_port: u32::from_le_bytes(field(wire, 20)),
            len: u32::from_le_bytes(field(wire, 24)),
            kind: u16::from_le_bytes(field(wire, 28)),
            op: u16::from_le_bytes(field(wire, 30)),
            flags: u32::from_le_bytes(field(wire, 32)),
            buf_alloc: u32::from_le_bytes(field(wire, 36)),
            fwd_cnt: u32::from_le_bytes(field(wire, 40)),
        }
    }

    /// Writes the little-endian fields.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut wire = [0; HEADER_LEN];
        wire[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        wire[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        wire[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        wire[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        wire[24..28].copy_from_slice(&self.len.to_le_bytes());
        wire[28..30].copy_from_slice(&self.kind.to_le_bytes());
        wire[30..32].copy_from_slice(&self.op.to_le_bytes());
        wire[32..36].copy_from_slice(&self.flags.to_le_bytes());
        wire[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        wire[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        wire
    }

    /// Octets of the whole packet.
    #[must_use]
    pub fn packet_len(&self) -> u32 {
        self.len.saturating_add(44)
    }

    /// The reset that answers this packet: same type, addresses swapped.
    #[must_use]
    pub fn reset(&self) -> Self {
        Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: Op::Reset.wire(),
            ..Self::default()
        }
    }
}

fn field<const N: usize>(wire: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&wire[at..at + N]);
    bytes
}

/// What a packet asks for (`VIRTIO_VSOCK_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Open a connection.
    Request,
    /// The connection is open.
    Response,
    /// The connection, or the attempt at one, is over.
    Reset,
    /// The sender gives up one or both directions, see [`Directions`].
    Shutdown,
    /// Payload (`OP_RW`).
    Data,
    /// News about the sender's receive buffer.
    CreditUpdate,
    /// Asks the peer for a credit update.
    CreditRequest,
}

impl Op {
    const WIRE: [(u16, Self); 7] = [
        (1, Self::Request),
        (2, Self::Response),
        (3, Self::Reset),
        (4, Self::Shutdown),
        (5, Self::Data),
        (6, Self::CreditUpdate),
        (7, Self::CreditRequest),
    ];

    /// The operation a number stands for; `None` for one the specification
    /// does not have.
    #[must_use]
    pub fn from_wire(number: u16) -> Option<Self> {
        Self::WIRE
            .iter()
            .find(|(wire, _)| *wire == number)
            .map(|(_, op)| *op)
    }

    /// The number that stands for the operation.
    #[must_use]
    pub fn wire(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::Data => 5,
            Self::CreditUpdate => 6,
            Self::CreditRequest => 7,
        }
    }
}

/// Directions one side of a connection has given up: the flags of a shutdown
/// packet (section 5.10.6.5). Once set they stay set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions(u32);

impl Directions {
    /// Nothing given up.
    pub const NONE: Self = Self(0);
    /// `VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE`: will not receive any more.
    pub const RECEIVE: Self = Self(1);
    /// `VIRTIO_VSOCK_SHUTDOWN_F_SEND`: will not send any more.
    pub const SEND: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// The directions in a packet's flags; other bits are ignored.
    #[must_use]
    pub fn from_flags(flags: u32) -> Self {
        Self(flags & Self::BOTH.0)
    }

    /// As a packet's flags.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are given up.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Gives up `other` as well.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let wire: [u8; HEADER_LEN] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let header = Header::decode(&wire);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(header.src_port, 0x1312_1110);
        assert_eq!(header.dst_port, 0x1716_1514);
        assert_eq!(header.len, 0x1b1a_1918);
        assert_eq!((header.kind, header.op), (0x1d1c, 0x1f1e));
        assert_eq!(header.flags, 0x2322_2120);
        assert_eq!(header.buf_alloc, 0x2726_2524);
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
    }

    #[test]
    fn each_operation_has_one_number() {
        for (number, op) in Op::WIRE {
            assert_eq!(op.wire(), number);
        }
        assert_eq!(Op::from_wire(0), None);
        assert_eq!(Op::from_wire(8), None);
    }

    #[test]
    fn unknown_shutdown_flags_are_ignored() {
        assert_eq!(Directions::from_flags(0xffff_fffc), Directions::NONE);
        assert!(Directions::from_flags(u32::MAX).contains(Directions::BOTH));
    }

    proptest! {
        #[test]
        fn decoding_loses_nothing(bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN)) {
            let wire: [u8; HEADER_LEN] = bytes.try_into().unwrap();
            prop_assert_eq!(Header::decode(&wire).encode(), wire);
        }
    }
}
