//! What a driver is told of a disk: features and configuration (virtio 1.2,
//! sections 5.2.3 and 5.2.4).

use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_blk as blk;

use super::backing::{Backing, SECTOR};
use super::{QUEUE_SIZE, work};

/// Pieces of data in a request, which has a header and a status besides.
const MOST_PIECES: u32 = QUEUE_SIZE as u32 - 2;

/// What every disk has.
const ALWAYS: [u32; 6] = [
    blk::VIRTIO_BLK_F_SEG_MAX,
    blk::VIRTIO_BLK_F_BLK_SIZE,
    blk::VIRTIO_BLK_F_TOPOLOGY,
    blk::VIRTIO_BLK_F_FLUSH,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_RING_F_INDIRECT_DESC,
];

/// Features, a bit each.
pub(super) fn features(backing: &Backing, read_only: bool, queues: u16) -> u64 {
    let writable = !read_only;
    let sometimes = [
        (blk::VIRTIO_BLK_F_RO, read_only),
        (blk::VIRTIO_BLK_F_MQ, queues > 1),
        (blk::VIRTIO_BLK_F_WRITE_ZEROES, writable),
        (
            blk::VIRTIO_BLK_F_DISCARD,
            writable && backing.most_discard.is_some(),
        ),
    ];
    let sometimes = sometimes.iter().filter(|(_, has)| *has);
    let all = ALWAYS.iter().chain(sometimes.map(|(feature, _)| feature));
    all.fold(0, |bits, feature| bits | 1 << feature)
}

/// `struct virtio_blk_config`, as far as its features are offered.
pub(super) fn config(backing: &Backing, queues: u16) -> Vec<u8> {
    let blocks = backing.blocks;
    let in_blocks = |bytes: u32| bytes / blocks.logical;
    let exponent = in_blocks(blocks.physical).checked_ilog2().unwrap_or(0);
    let byte = |value: u32| u8::try_from(value).unwrap_or(0);
    let most_discard = backing.most_discard.unwrap_or(0);

    let mut config = Vec::with_capacity(60);
    config.extend(backing.sectors.to_le_bytes());
    // Longest piece: as the driver likes.
    config.extend(0_u32.to_le_bytes());
    config.extend(MOST_PIECES.to_le_bytes());
    // No geometry: nothing has cylinders.
    config.extend([0; 4]);
    config.extend(blocks.logical.to_le_bytes());
    config.push(byte(exponent));
    config.push(byte(in_blocks(blocks.misalignment)));
    let least = u16::try_from(in_blocks(blocks.least)).unwrap_or(0);
    config.extend(least.to_le_bytes());
    config.extend(in_blocks(blocks.best).to_le_bytes());
    // The cache is not for switching off; a byte that nothing uses.
    config.extend([0; 2]);
    config.extend(queues.to_le_bytes());
    // Discard: sectors, ranges in a request, alignment in sectors.
    config.extend(sectors(most_discard).to_le_bytes());
    config.extend(1_u32.to_le_bytes());
    config.extend(sectors(blocks.physical.into()).to_le_bytes());
    // Write zeroes: sectors, ranges, whether they may be deallocated.
    config.extend(sectors(work::MOST_ZEROES).to_le_bytes());
    config.extend(1_u32.to_le_bytes());
    config.push(1);
    config.extend([0; 3]);
    config
}

fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::blk::backing::Blocks;

    fn backing(most_discard: Option<u64>) -> Backing {
        Backing {
            file: tempfile::tempfile().unwrap(),
            is_device: true,
            sectors: 0x0123_4567_89ab,
            blocks: Blocks {
                logical: 4096,
                physical: 16384,
                misalignment: 8192,
                least: 16384,
                best: 1 << 20,
            },
            most_discard,
        }
    }

    /// Of 4 bytes at most.
    fn field(config: &[u8], offset: usize, bytes: usize) -> u32 {
        let field = config[offset..offset + bytes].iter().rev();
        field.fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let config = config(&backing(Some(64 << 20)), 3);
        assert_eq!(config.len(), 60);
        for (offset, bytes, value) in [
            (0, 4, 0x4567_89ab),
            (4, 4, 0x0123),
            (12, 4, 126),
            (20, 4, 4096),
            (24, 1, 2),
            (25, 1, 2),
            (26, 2, 4),
            (28, 4, 256),
            (34, 2, 3),
            (36, 4, 131_072),
            (40, 4, 1),
            (44, 4, 32),
            (48, 4, 65536),
            (52, 4, 1),
            (56, 1, 1),
        ] {
            assert_eq!(field(&config, offset, bytes), value, "at {offset}");
        }
    }

    #[test]
    fn what_is_not_possible_is_not_offered() {
        let has = |bits: u64, feature: u32| bits >> feature & 1 == 1;
        let bits = features(&backing(Some(1 << 20)), false, 1);
        assert!(has(bits, blk::VIRTIO_BLK_F_DISCARD) && has(bits, blk::VIRTIO_BLK_F_WRITE_ZEROES));
        assert!(!has(bits, blk::VIRTIO_BLK_F_RO) && !has(bits, blk::VIRTIO_BLK_F_MQ));
        let bits = features(&backing(Some(1 << 20)), true, 2);
        assert!(!has(bits, blk::VIRTIO_BLK_F_DISCARD) && has(bits, blk::VIRTIO_BLK_F_FLUSH));
        assert!(has(bits, blk::VIRTIO_BLK_F_RO) && has(bits, blk::VIRTIO_BLK_F_MQ));
        let bits = features(&backing(None), false, 1);
        assert!(!has(bits, blk::VIRTIO_BLK_F_DISCARD) && has(bits, blk::VIRTIO_BLK_F_WRITE_ZEROES));
    }
}
