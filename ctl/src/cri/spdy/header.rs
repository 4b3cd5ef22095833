//! Name/value header blocks (SPDY/3, section 2.6.10).
//!
//! The specification compresses them with zlib. Deflate has blocks that are
//! stored as they are, so a valid compressed stream is written here without a
//! compressor; a zlib stream that does not set FDICT needs no dictionary. The
//! server's header blocks say nothing that a client needs and are not read.

/// Header names are lower case on the wire.
pub(super) type Headers<'a> = &'a [(&'a str, &'a str)];

/// CMF and FLG of RFC 1950: deflate with a 32 KiB window, no dictionary.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
const STORED: u8 = 0;

/// The header blocks of one connection: one zlib stream, flushed after each.
#[derive(Debug, Default)]
pub(super) struct HeaderWriter {
    begun: bool,
}

impl HeaderWriter {
    /// Encodes one block. None where it is larger than a stored deflate block
    /// can be, 65535 bytes.
    pub(super) fn encode(&mut self, headers: Headers<'_>) -> Option<Vec<u8>> {
        let plain = plain_block(headers)?;
        let mut out = Vec::with_capacity(plain.len() + 12);
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&ZLIB_HEADER);
        }
        stored_block(&mut out, &plain)?;
        // An empty block makes the decompressor hand out what it holds.
        stored_block(&mut out, &[])?;
        Some(out)
    }
}

fn plain_block(headers: Headers<'_>) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.extend_from_slice(&u32::try_from(headers.len()).ok()?.to_be_bytes());
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    Some(block)
}

/// A deflate block that is not the last one (RFC 1951, section 3.2.4).
fn stored_block(out: &mut Vec<u8>, data: &[u8]) -> Option<()> {
    let length = u16::try_from(data.len()).ok()?;
    out.push(STORED);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(data);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_a_count_then_lengths_and_texts() {
        let block = plain_block(&[("streamtype", "stdin")]);
        let mut expected = vec![0, 0, 0, 1, 0, 0, 0, 10];
        expected.extend_from_slice(b"streamtype");
        expected.extend_from_slice(&[0, 0, 0, 5]);
        expected.extend_from_slice(b"stdin");
        assert_eq!(block, Some(expected));
    }

    #[test]
    fn only_the_first_block_begins_the_zlib_stream() {
        let mut writer = HeaderWriter::default();
        let first = writer.encode(&[]).unwrap();
        let second = writer.encode(&[]).unwrap();
        assert_eq!(first[..2], ZLIB_HEADER);
        assert_eq!(first[2..], second[..]);
        assert_eq!(second, [0, 4, 0, 251, 255, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
    }

    #[test]
    fn the_zlib_header_carries_its_check_bits() {
        assert_eq!(u16::from_be_bytes(ZLIB_HEADER) % 31, 0);
        assert_eq!(ZLIB_HEADER[1] & 0x20, 0, "FDICT");
    }

    #[test]
    fn a_block_too_large_for_deflate_is_refused() {
        let long = "v".repeat(70_000);
        assert_eq!(HeaderWriter::default().encode(&[("n", &long)]), None);
    }
}
