//! A vhost-user front end without a machine behind it: one virtqueue, on which
//! a test puts whatever it likes (virtio 1.2, sections 2.7 and 5.11).

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vhost_016::vhost_user::message::VhostUserProtocolFeatures;
use vhost_016::vhost_user::{Frontend, VhostUserFrontend};
use vhost_016::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory_017::{Bytes, FileOffset, GuestAddress, GuestMemory, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The first request queue; queue 0 is for urgent messages.
const QUEUE: usize = 1;
const QUEUE_SIZE: u16 = 16;

// Where things are in the memory that both sides see.
const MEMORY: usize = 4 << 20;
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const REQUEST: u64 = 0x1_0000;
const REPLY: u64 = 0x20_0000;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

const VERSION_1: u64 = 1 << 32;
/// Each side tells the other from which index on it wants to hear (virtio 1.2,
/// section 2.7.10), as Linux's driver has it.
pub(crate) const EVENT_IDX: u64 = 1 << 29;
const PROTOCOL_FEATURES: u64 = 1 << 30;

pub(crate) struct FrontEnd {
    connection: Frontend,
    memory: GuestMemoryMmap,
    kick: EventFd,
    call: EventFd,
    asked: u16,
}

impl FrontEnd {
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        Self::connect_with(socket, EVENT_IDX)
    }

    /// With `features` beside those without which it does not go.
    pub(crate) fn connect_with(socket: &Path, features: u64) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let file = std::fs::File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(MEMORY as u64)?;
        let range = (GuestAddress(0), MEMORY, Some(FileOffset::new(file, 0)));
        let mut front_end = Self {
            connection: Frontend::from_stream(stream, 2),
            memory: GuestMemoryMmap::from_ranges_with_files([range])?,
            kick: EventFd::new(EFD_NONBLOCK)?,
            call: EventFd::new(EFD_NONBLOCK)?,
            asked: 0,
        };
        front_end.negotiate(features)?;
        front_end.start_queue()?;
        Ok(front_end)
    }

    fn negotiate(&mut self, features: u64) -> anyhow::Result<()> {
        self.connection.set_owner()?;
        let offered = self.connection.get_features()?;
        let accepted = features | VERSION_1 | PROTOCOL_FEATURES;
        ensure!(accepted & !offered == 0, "{offered:#x} are offered");
        self.connection.set_features(accepted)?;
        self.connection.get_protocol_features()?;
        let used = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::RESET_DEVICE;
        Ok(self.connection.set_protocol_features(used)?)
    }

    /// Resets the device and starts it again, as a driver that was loaded anew.
    pub(crate) fn reset(&mut self) -> anyhow::Result<()> {
        self.connection.get_vring_base(QUEUE)?;
        self.connection.reset_device()?;
        self.connection
            .set_features(EVENT_IDX | VERSION_1 | PROTOCOL_FEATURES)?;
        for ring in [AVAILABLE, USED] {
            self.memory.write_obj(0u16, GuestAddress(ring + 2))?;
        }
        self.asked = 0;
        self.start_queue()
    }

    fn start_queue(&mut self) -> anyhow::Result<()> {
        let region = self.memory.iter().next().context("a memory region")?;
        let region = VhostUserMemoryRegionInfo::from_guest_region(region)?;
        let at = |offset| region.userspace_addr + offset;
        self.connection.set_mem_table(&[region])?;
        self.connection.set_vring_num(QUEUE, QUEUE_SIZE)?;
        let rings = VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
            flags: 0,
            desc_table_addr: at(DESCRIPTORS),
            used_ring_addr: at(USED),
            avail_ring_addr: at(AVAILABLE),
            log_addr: None,
        };
        self.connection.set_vring_addr(QUEUE, &rings)?;
        self.connection.set_vring_base(QUEUE, 0)?;
        self.connection.set_vring_call(QUEUE, &self.call)?;
        self.connection.set_vring_kick(QUEUE, &self.kick)?;
        Ok(self.connection.set_vring_enable(QUEUE, true)?)
    }

    /// Sends `request` with `room` bytes for the reply, and returns the reply,
    /// or nothing if the device hung up instead.
    pub(crate) fn ask(&mut self, request: &[u8], room: u32) -> anyhow::Result<Option<Vec<u8>>> {
        let length = u32::try_from(request.len())?;
        self.memory.write_slice(request, GuestAddress(REQUEST))?;
        self.describe(0, REQUEST, length, NEXT, 1)?;
        self.describe(1, REPLY, room, WRITE, 0)?;
        let slot = AVAILABLE + 4 + u64::from(self.asked % QUEUE_SIZE) * 2;
        self.memory.write_obj(0u16, GuestAddress(slot))?;
        // Tell of the answer to this one.
        let event = AVAILABLE + 4 + u64::from(QUEUE_SIZE) * 2;
        self.memory.write_obj(self.asked, GuestAddress(event))?;
        self.asked = self.asked.wrapping_add(1);
        self.make_available(self.asked)?;
        if !self.answered()? {
            return Ok(None);
        }
        let used: u16 = self.memory.read_obj(GuestAddress(USED + 2))?;
        ensure!(used == self.asked, "{used} used of {}", self.asked);
        let element = USED + 4 + u64::from(used.wrapping_sub(1) % QUEUE_SIZE) * 8;
        let length: u32 = self.memory.read_obj(GuestAddress(element + 4))?;
        let mut reply = vec![0; usize::try_from(length)?];
        self.memory.read_slice(&mut reply, GuestAddress(REPLY))?;
        Ok(Some(reply))
    }

    /// Says that requests up to `index` are there.
    fn make_available(&self, index: u16) -> anyhow::Result<()> {
        self.memory.write_obj(index, GuestAddress(AVAILABLE + 2))?;
        Ok(self.kick.write(1)?)
    }

    /// Says that there are more requests than the ring has room for. Whether the
    /// device answers, instead of hanging up.
    pub(crate) fn overfill(&self) -> anyhow::Result<bool> {
        self.make_available(self.asked.wrapping_add(QUEUE_SIZE + 1))?;
        self.answered()
    }

    /// What the device offers.
    pub(crate) fn offered(&self) -> anyhow::Result<u64> {
        Ok(self.connection.get_features()?)
    }

    fn describe(
        &self,
        index: u64,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(16);
        bytes.write_all(&address.to_le_bytes())?;
        bytes.write_all(&length.to_le_bytes())?;
        bytes.write_all(&flags.to_le_bytes())?;
        bytes.write_all(&next.to_le_bytes())?;
        let at = GuestAddress(DESCRIPTORS + index * 16);
        Ok(self.memory.write_slice(&bytes, at)?)
    }

    /// Waits for the device's interrupt, or for its end.
    fn answered(&self) -> anyhow::Result<bool> {
        let socket = borrowed(&self.connection);
        let call = borrowed(&self.call);
        let mut watched = [
            PollFd::new(call, PollFlags::POLLIN),
            PollFd::new(socket, PollFlags::empty()),
        ];
        if poll(&mut watched, PollTimeout::from(10_000u16))? == 0 {
            bail!("no answer within ten seconds");
        }
        // Empty if the device ended before it could interrupt.
        Ok(self.call.read().is_ok())
    }
}

#[allow(
    unsafe_code,
    reason = "these types lend their descriptor by number only"
)]
fn borrowed<T: AsRawFd>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open for the borrow's life.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
