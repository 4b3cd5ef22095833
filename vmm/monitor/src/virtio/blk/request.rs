//! A request, as a driver writes it (virtio 1.2, section 5.2.6).

use std::sync::Arc;

use virtio_bindings::virtio_blk as blk;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::backing::{Backing, SECTOR};
use super::pieces::{self, Side};
use super::vectors::Vectors;
use super::work::{MOST_ZEROES, Range, Status, Work};
use crate::virtio::chain::BadChain;

/// What a disk lets its driver do.
pub(super) struct Rules {
    pub(super) backing: Arc<Backing>,
    pub(super) read_only: bool,
    /// Without a request of its own that makes writes durable, each is (section
    /// 5.2.6.2).
    pub(super) durable: bool,
    pub(super) serial: [u8; blk::VIRTIO_BLK_ID_BYTES as usize],
}

/// Where the driver looks for the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) queue: usize,
    pub(super) head: u16,
    status: GuestAddress,
    /// Bytes of data that it gets if all goes well.
    data: u32,
}

impl Answer {
    /// Writes how it went. Bytes written in all.
    pub(super) fn give(&self, memory: &GuestMemoryMmap, status: Status) -> u32 {
        // It was memory when the request was read, and memory stays.
        let _ = memory.write_obj(status as u8, self.status);
        let data = match status {
            Status::Ok => self.data,
            Status::Error | Status::Unsupported => 0,
        };
        data.saturating_add(1)
    }
}

/// What is to be done for a request.
pub(super) enum Parsed {
    Work(Work),
    Over(Status),
}

/// `type`, `reserved`, `sector`.
const HEADER: usize = 16;
/// `sector`, `num_sectors`, `flags`.
const RANGE: usize = 16;

/// Reads a request.
///
/// # Errors
/// When there is nowhere to say how it went.
pub(super) fn parse(
    queue: usize,
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &Arc<GuestMemoryMmap>,
    rules: &Rules,
) -> Result<(Answer, Parsed), BadChain> {
    let head = chain.head_index();
    let (mut readable, mut writable) = pieces::sides(chain, memory)?;
    let status = writable.take_last().ok_or(BadChain::Size {
        bytes: 0,
        least: 1,
        most: usize::MAX,
    })?;
    let mut answer = Answer {
        queue,
        head,
        status,
        data: 0,
    };
    let mut header = [0; HEADER];
    if readable.take_front(memory, &mut header).is_none() {
        return Ok((answer, Parsed::Over(Status::Error)));
    }
    let [kind, _, sector @ ..] = words(header);
    let request = Request {
        sector: long(sector),
        readable,
        writable,
        memory,
        rules,
    };
    let parsed = request.parse(kind, &mut answer.data)?;
    Ok((answer, parsed))
}

struct Request<'a> {
    sector: u64,
    readable: Side,
    writable: Side,
    memory: &'a Arc<GuestMemoryMmap>,
    rules: &'a Rules,
}

impl Request<'_> {
    fn parse(self, kind: u32, data: &mut u32) -> Result<Parsed, BadChain> {
        let writes = [
            blk::VIRTIO_BLK_T_OUT,
            blk::VIRTIO_BLK_T_DISCARD,
            blk::VIRTIO_BLK_T_WRITE_ZEROES,
        ];
        if self.rules.read_only && writes.contains(&kind) {
            return Ok(Parsed::Over(Status::Error));
        }
        match kind {
            blk::VIRTIO_BLK_T_IN => {
                *data = u32::try_from(self.writable.bytes()).unwrap_or(u32::MAX);
                self.read()
            }
            blk::VIRTIO_BLK_T_OUT => self.write(),
            blk::VIRTIO_BLK_T_FLUSH => Ok(Parsed::Work(Work::Sync)),
            blk::VIRTIO_BLK_T_GET_ID => {
                let written = self.writable.fill(self.memory, &self.rules.serial);
                *data = u32::try_from(written).unwrap_or(0);
                Ok(Parsed::Over(Status::Ok))
            }
            blk::VIRTIO_BLK_T_DISCARD => Ok(self.discard()),
            blk::VIRTIO_BLK_T_WRITE_ZEROES => Ok(self.write_zeroes()),
            _ => Ok(Parsed::Over(Status::Unsupported)),
        }
    }

    fn read(self) -> Result<Parsed, BadChain> {
        let Some(range) = self.transfer(self.writable.bytes()) else {
            return Ok(Parsed::Over(Status::Error));
        };
        let offset = range.offset;
        let vectors = Vectors::new(self.memory, self.writable.pieces())?;
        Ok(Parsed::Work(Work::Read { vectors, offset }))
    }

    fn write(self) -> Result<Parsed, BadChain> {
        let Some(range) = self.transfer(self.readable.bytes()) else {
            return Ok(Parsed::Over(Status::Error));
        };
        let vectors = Vectors::new(self.memory, self.readable.pieces())?;
        Ok(Parsed::Work(Work::Write {
            vectors,
            offset: range.offset,
            durable: self.rules.durable,
        }))
    }

    /// Where so many bytes are: whole sectors, all of them on the disk.
    fn transfer(&self, bytes: usize) -> Option<Range> {
        let bytes = bytes as u64;
        let whole = bytes > 0 && bytes.is_multiple_of(SECTOR);
        let range = whole.then(|| self.range(self.sector, bytes / SECTOR));
        range.flatten()
    }

    fn range(&self, sector: u64, sectors: u64) -> Option<Range> {
        let end = sector.checked_add(sectors)?;
        let on_disk = sectors > 0 && end <= self.rules.backing.sectors;
        // Neither can be too long: the disk has fewer bytes than 2^63.
        on_disk.then_some(Range {
            offset: sector.saturating_mul(SECTOR),
            length: sectors.saturating_mul(SECTOR),
        })
    }

    /// The one range that a discard or write-zeroes request has, and its flags.
    fn listed(mut self, most: u64) -> Result<(Range, u32), Status> {
        let mut bytes = [0; RANGE];
        let is_one = self.readable.bytes() == RANGE;
        if !is_one || self.readable.take_front(self.memory, &mut bytes).is_none() {
            return Err(Status::Error);
        }
        let [low, high, sectors, flags] = words(bytes);
        if flags & !blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 {
            return Err(Status::Unsupported);
        }
        let range = self.range(long([low, high]), sectors.into());
        let range = range.filter(|range| range.length <= most);
        Ok((range.ok_or(Status::Error)?, flags))
    }

    fn discard(self) -> Parsed {
        let backing = Arc::clone(&self.rules.backing);
        let Some(most) = backing.most_discard else {
            return Parsed::Over(Status::Unsupported);
        };
        match self.listed(most) {
            Ok((range, 0)) => Parsed::Work(Work::discard(range, backing.is_device)),
            // What it would mean is said of no discard.
            Ok(_) => Parsed::Over(Status::Unsupported),
            Err(status) => Parsed::Over(status),
        }
    }

    fn write_zeroes(self) -> Parsed {
        let durable = self.rules.durable;
        match self.listed(MOST_ZEROES) {
            Ok((range, flags)) => Parsed::Work(Work::zero(range, flags != 0, durable)),
            Err(status) => Parsed::Over(status),
        }
    }
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn long([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
