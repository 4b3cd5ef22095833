//! Frames (SPDY/3, section 2.2).

/// Control bit and version 3, the first two bytes of every control frame.
const CONTROL: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

const FLAG_FIN: u8 = 1;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 8;

/// The longest control frame that is taken in. Those that arrive are a few
/// bytes long, and what is longer is not from a server of this protocol.
pub(super) const CONTROL_LIMIT: usize = 64 << 10;

/// What the first eight bytes of a frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// `length` bytes for a stream follow; with `fin` they are its last.
    Data {
        stream: u32,
        fin: bool,
        length: usize,
    },
    /// A control frame with `length` bytes of content follows.
    Control { kind: u16, fin: bool, length: usize },
}

impl Head {
    /// Reads a frame's header. None for another version of the protocol.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Option<Self> {
        let [a, b, c, d, flags, l0, l1, l2] = bytes;
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        let fin = flags & FLAG_FIN != 0;
        let stream = u32::from_be_bytes([a, b, c, d]);
        if a & 0x80 == 0 {
            return Some(Self::Data {
                stream,
                fin,
                length,
            });
        }
        let kind = u16::from_be_bytes([c, d]);
        (u16::from_be_bytes([a, b]) == CONTROL).then_some(Self::Control { kind, fin, length })
    }
}

/// A control frame that a client has to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// The stream is dead in both directions.
    Reset { stream: u32 },
    /// To be sent back as it is.
    Ping { id: u32 },
    /// The server is about to close the connection.
    GoAway,
    /// The server will send no more on this stream.
    Finished { stream: u32 },
    /// Replies, settings and window updates, which say nothing new.
    Ignored,
}

impl Control {
    /// Reads a control frame's content. None where it is too short.
    pub(super) fn parse(kind: u16, fin: bool, content: &[u8]) -> Option<Self> {
        Some(match kind {
            RST_STREAM => Self::Reset {
                stream: stream_id(content)?,
            },
            PING => Self::Ping { id: word(content)? },
            GOAWAY => Self::GoAway,
            // SYN_REPLY and HEADERS may carry the last flag.
            _ if fin => Self::Finished {
                stream: stream_id(content)?,
            },
            _ => Self::Ignored,
        })
    }
}

fn word(content: &[u8]) -> Option<u32> {
    content
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

fn stream_id(content: &[u8]) -> Option<u32> {
    word(content).map(|word| word & 0x7fff_ffff)
}

/// Opens a stream; `block` is an encoded header block of at most 64 KiB.
pub(super) fn syn_stream(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut frame = control(SYN_STREAM, 10 + block.len());
    frame.extend_from_slice(&stream.to_be_bytes());
    // No associated stream, highest priority, no credential slot.
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(block);
    frame
}

/// The answer to a ping.
pub(super) fn ping(id: u32) -> Vec<u8> {
    let mut frame = control(PING, 4);
    frame.extend_from_slice(&id.to_be_bytes());
    frame
}

/// Data for a stream, at most 2^24 - 1 bytes; with `fin` the last.
pub(super) fn data(stream: u32, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&stream.to_be_bytes());
    push_flags_and_length(&mut frame, if fin { FLAG_FIN } else { 0 }, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn control(kind: u16, length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + length);
    frame.extend_from_slice(&CONTROL.to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    push_flags_and_length(&mut frame, 0, length);
    frame
}

fn push_flags_and_length(frame: &mut Vec<u8>, flags: u8, length: usize) {
    let bytes = length.to_be_bytes();
    debug_assert!(length < 1 << 24, "callers bound what they send");
    frame.push(flags);
    frame.extend_from_slice(&bytes[bytes.len() - 3..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(frame: &[u8]) -> Option<Head> {
        frame.first_chunk().copied().and_then(Head::parse)
    }

    #[test]
    fn a_data_frame_reads_back() {
        let frame = data(5, true, &[9; 70_000]);
        assert_eq!(
            head(&frame),
            Some(Head::Data {
                stream: 5,
                fin: true,
                length: 70_000
            })
        );
        assert_eq!(frame.len(), HEADER + 70_000);
    }

    #[test]
    fn a_ping_reads_back_as_a_ping() {
        let frame = ping(0xdead_beef);
        assert_eq!(
            head(&frame),
            Some(Head::Control {
                kind: PING,
                fin: false,
                length: 4
            })
        );
        let control = Control::parse(PING, false, &frame[HEADER..]);
        assert_eq!(control, Some(Control::Ping { id: 0xdead_beef }));
    }

    #[test]
    fn syn_stream_has_the_layout_of_section_2_6_1() {
        let frame = syn_stream(3, b"block");
        assert_eq!(frame[..8], [0x80, 3, 0, 1, 0, 0, 0, 15]);
        assert_eq!(frame[8..18], [0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&frame[18..], b"block");
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]), None);
    }

    #[test]
    fn short_content_is_refused_and_unknown_kinds_are_ignored() {
        assert_eq!(Control::parse(RST_STREAM, false, &[0, 0, 1]), None);
        assert_eq!(Control::parse(4, false, &[]), Some(Control::Ignored));
        assert_eq!(
            Control::parse(2, true, &[0x80, 0, 0, 7]),
            Some(Control::Finished { stream: 7 })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(head: [u8; HEADER], kind: u16, fin: bool, content: Vec<u8>) {
            let _ = Head::parse(head);
            let _ = Control::parse(kind, fin, &content);
        }

        #[test]
        fn data_of_any_length_reads_back(stream in 0u32..1 << 31, fin: bool, payload: Vec<u8>) {
            let frame = data(stream, fin, &payload);
            let length = payload.len();
            prop_assert_eq!(head(&frame), Some(Head::Data { stream, fin, length }));
            prop_assert_eq!(&frame[HEADER..], &payload);
        }
    }
}
