//! What kinds of devices there are. vhost-user carries queues, not what a
//! device is.

use virtio_bindings::virtio_ids::{VIRTIO_ID_FS, VIRTIO_ID_VSOCK};

/// What a device looks like to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// For texts.
    pub name: &'static str,
    /// Its number in virtio 1.2, section 5.
    pub kind: u32,
    /// Most entries of each queue.
    pub queue_sizes: &'static [u16],
    /// Configuration, which never changes.
    pub config: Vec<u8>,
}

/// Octets of a tag (virtio 1.2, section 5.11.4).
const TAG: usize = 36;

/// A tag that no driver can be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("virtio-fs tag {tag:?}: it has to have 1 to {TAG} bytes")]
pub struct TagError {
    tag: String,
}

/// A file system device: one queue for urgent requests, one for the others
/// (virtio 1.2, section 5.11).
///
/// # Errors
/// When the tag does not fit.
pub fn fs(tag: &str) -> Result<Identity, TagError> {
    let refused = || TagError {
        tag: tag.to_owned(),
    };
    let mut config = tag.as_bytes().to_vec();
    if !(1..=TAG).contains(&config.len()) || config.contains(&0) {
        return Err(refused());
    }
    config.resize(TAG, 0);
    // Request queues.
    config.extend(1_u32.to_le_bytes());
    Ok(Identity {
        name: "fs",
        kind: VIRTIO_ID_FS,
        queue_sizes: &[1024, 1024],
        config,
    })
}

/// A socket device of the guest `cid`: receive, transmit, events (virtio 1.2,
/// section 5.10).
#[must_use]
pub fn vsock(cid: u32) -> Identity {
    Identity {
        name: "vsock",
        kind: VIRTIO_ID_VSOCK,
        queue_sizes: &[256, 256, 16],
        config: u64::from(cid).to_le_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_padded_with_zeros() {
        let config = fs("share").unwrap().config;
        assert_eq!(config.len(), 40);
        assert_eq!(&config[..6], b"share\0");
        assert_eq!(config[36..], [1, 0, 0, 0]);
        assert!(fs(&"x".repeat(36)).is_ok());
    }

    #[test]
    fn a_tag_that_does_not_fit_is_refused() {
        for tag in ["", "a\0b", &"x".repeat(37)] {
            assert!(fs(tag).is_err(), "{tag:?}");
        }
    }

    #[test]
    fn a_context_id_has_eight_octets() {
        assert_eq!(vsock(0x0403_0201).config, [1, 2, 3, 4, 0, 0, 0, 0]);
    }
}
