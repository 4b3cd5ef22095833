//! Requests and answers, as a chain holds them (virtio 1.2, section 5.15.6).

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::blocks::{Refusal, State};
use crate::virtio::chain::{Access, BadChain, Pieces};

/// Bytes of a request, and the fewest that one is: its type.
const REQUEST: usize = 24;
const TYPE: usize = 2;
/// Bytes of an answer.
const ANSWER: usize = 10;

// Types of requests (VIRTIO_MEM_REQ_*).
const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

/// What a driver asks for. Addresses are the guest's; counts are of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Plug {
        address: u64,
        count: u16,
    },
    Unplug {
        address: u64,
        count: u16,
    },
    UnplugAll,
    State {
        address: u64,
        count: u16,
    },
    /// None that there is.
    Unknown,
}

/// How it went (VIRTIO_MEM_RESP_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Refused(Refusal),
    /// This host cannot, now.
    Busy,
    State(State),
}

impl Answer {
    fn encode(self) -> [u8; ANSWER] {
        let (kind, state) = match self {
            Self::Done => (0, 0),
            Self::Refused(Refusal::Nack) => (1, 0),
            Self::Busy => (2, 0),
            Self::Refused(Refusal::Error) => (3, 0),
            Self::State(State::Plugged) => (0, 0),
            Self::State(State::Unplugged) => (0, 1),
            Self::State(State::Mixed) => (0, 2),
        };
        [kind, 0, 0, 0, 0, 0, 0, 0, state, 0]
    }
}

/// A request, and where its answer goes.
pub(super) struct Asked {
    pub(super) request: Request,
    answer: GuestAddress,
}

impl Asked {
    /// What a chain asks. The driver may change it afterwards: this is a copy.
    pub(super) fn read(pieces: Pieces<'_>, memory: &GuestMemoryMmap) -> Result<Self, BadChain> {
        let mut bytes = [0; REQUEST];
        let mut length = 0;
        for piece in pieces {
            let piece = piece?;
            if piece.access == Access::Write {
                return answered(&bytes, length, piece.address, piece.length);
            }
            let end = length + piece.length.min(REQUEST - length);
            if let Some(room) = bytes.get_mut(length..end) {
                let read = memory.read_slice(room, piece.address);
                read.map_err(|_| BadChain::NotMemory {
                    address: piece.address.0,
                    length: piece.length,
                })?;
            }
            length = end;
        }
        Err(size(0, ANSWER, ANSWER))
    }

    /// Answers it. Bytes written.
    pub(super) fn answer(&self, answer: Answer, memory: &GuestMemoryMmap) -> u32 {
        match memory.write_slice(&answer.encode(), self.answer) {
            Ok(()) => u32::try_from(ANSWER).unwrap_or(0),
            Err(_) => 0,
        }
    }
}

fn answered(
    bytes: &[u8; REQUEST],
    length: usize,
    answer: GuestAddress,
    room: usize,
) -> Result<Asked, BadChain> {
    if room < ANSWER {
        return Err(size(room, ANSWER, ANSWER));
    }
    if length < TYPE {
        return Err(size(length, TYPE, REQUEST));
    }
    let request = decode(bytes, length == REQUEST);
    Ok(Asked { request, answer })
}

fn size(bytes: usize, least: usize, most: usize) -> BadChain {
    BadChain::Size { bytes, least, most }
}

fn decode(bytes: &[u8; REQUEST], is_whole: bool) -> Request {
    let [k0, k1, _, _, _, _, _, _, a @ .., c0, c1, _, _, _, _, _, _] = *bytes;
    let (address, count) = (u64::from_le_bytes(a), u16::from_le_bytes([c0, c1]));
    match (u16::from_le_bytes([k0, k1]), is_whole) {
        (UNPLUG_ALL, _) => Request::UnplugAll,
        (PLUG, true) => Request::Plug { address, count },
        (UNPLUG, true) => Request::Unplug { address, count },
        (STATE, true) => Request::State { address, count },
        _ => Request::Unknown,
    }
}
