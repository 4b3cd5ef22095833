//! What the guest knows a disk by.

use virtio_bindings::virtio_blk::VIRTIO_BLK_ID_BYTES;

const BYTES: usize = VIRTIO_BLK_ID_BYTES as usize;

/// It is no name.
#[derive(Debug, thiserror::Error)]
#[error("serial {serial:?}: it has 1 to {BYTES} printable ASCII characters without blanks")]
pub struct SerialError {
    serial: String,
}

/// As the driver gets it: a terminator only if there is room for one (virtio
/// 1.2, section 5.2.6).
pub(super) fn serial(text: &str) -> Result<[u8; BYTES], SerialError> {
    let refused = || SerialError {
        serial: text.to_owned(),
    };
    let mut serial = [0; BYTES];
    let room = serial.get_mut(..text.len()).ok_or_else(refused)?;
    room.copy_from_slice(text.as_bytes());
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then_some(serial).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_others_refused() {
        assert_eq!(serial("a").unwrap()[..2], *b"a\0");
        assert_eq!(
            &serial("12345678901234567890").unwrap(),
            b"12345678901234567890"
        );
        for text in ["", "123456789012345678901", "a b", "a\n", "ä", "\0"] {
            assert!(serial(text).is_err(), "{text:?}");
        }
    }
}
