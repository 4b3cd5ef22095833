//! The socket device's process (virtio 1.2, section 5.10), between a guest
//! without rules and a shim that takes what it is handed.

// The kernel gives descriptors as numbers.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use arbitrary::{Arbitrary, Unstructured};
use monitor::memory::ram;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use vhost_user_backend::{VhostUserBackendMut, VringMutex, VringT};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vsock_device::backend::{Backend, HOST_EVENTS};
use vsock_device::device::Device;
use vsock_device::state::packet::{HEADER_LEN, Header};

use crate::driver::RingAction;
use crate::machine::MEMORY_MIB;
use crate::rings::Rings;

const SIZE: u16 = 64;
const CID: u32 = 3;
const PORTS: [u32; 2] = [1024, 1025];
const MOST_STEPS: usize = 100;

/// What the process holds at most for a guest that takes nothing back.
const MOST_HELD: u64 = 8 * (256 << 10);
const MOST_CONNECTIONS: usize = 1024;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A packet of values that are likely.
    Packet {
        op: u8,
        port: u8,
        to: u8,
        length: u16,
        payload: u16,
        flags: u8,
        room: u32,
        taken: u32,
        cut: u8,
    },
    /// A packet of any.
    Raw([u8; HEADER_LEN], u16),
    /// Room for packets.
    Room(u16),
    /// Anything in a queue.
    Ring(u8, RingAction),
    /// A notification, and whatever the device does then.
    Serve(u8),
    /// The shim's ends of connections.
    Write(u8, u16),
    Read(u8, u16),
    Shut(u8, bool),
    Close(u8),
}

/// Does as `data` says, on both sides of a device.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(event_idx) = bytes.arbitrary() else {
        return;
    };
    let mut world = World::new(event_idx);
    for _ in 0..MOST_STEPS {
        match bytes.arbitrary() {
            Ok(step) if !bytes.is_empty() => world.step(step),
            _ => break,
        }
        world.check();
    }
}

struct World {
    backend: Backend,
    vrings: [VringMutex; 3],
    rings: [Rings; 3],
    shim: OwnedFd,
    streams: Vec<UnixStream>,
}

impl World {
    fn new(event_idx: bool) -> Self {
        let memory = ram::allocate(MEMORY_MIB).unwrap();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, shim) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let device = Device::new(CID, PORTS.to_vec(), ours).unwrap();
        let shared = GuestMemoryAtomic::new(memory.clone());
        let rings = [0, 1, 2].map(|number| Rings::new(&memory, number, SIZE));
        let vrings = [0, 1, 2].map(|index: usize| vring(&shared, &rings[index], event_idx));
        Self {
            backend: Backend::new(device, CID, shared),
            vrings,
            rings,
            shim,
            streams: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Packet {
                op,
                port,
                to,
                length,
                payload,
                flags,
                room,
                taken,
                cut,
            } => {
                let header = Header {
                    src_cid: CID.into(),
                    dst_cid: 2,
                    src_port: u32::from(port % 8),
                    dst_port: PORTS[usize::from(to) % 2] + u32::from(to / 128),
                    len: length.into(),
                    kind: 1,
                    op: u16::from(op % 9),
                    flags: flags.into(),
                    buf_alloc: room,
                    fwd_cnt: taken,
                };
                self.send(&header.encode(), payload, cut);
            }
            Step::Raw(header, payload) => self.send(&header, payload, 0),
            Step::Room(bytes) => {
                let address = self.rings[0].place().buffers();
                self.rings[0].offer_located(&[(address, bytes.into(), true)]);
            }
            Step::Ring(queue, action) => action.apply(&mut self.rings[usize::from(queue % 3)]),
            Step::Serve(event) => self.serve(u16::from(event % 4)),
            Step::Write(index, bytes) => self.with(index, |stream| {
                let _ = stream.write(&vec![b'x'; bytes.into()]);
            }),
            Step::Read(index, bytes) => self.with(index, |stream| {
                let _ = stream.read(&mut vec![0; bytes.into()]);
            }),
            Step::Shut(index, write) => self.with(index, |stream| {
                let how = if write {
                    Shutdown::Write
                } else {
                    Shutdown::Read
                };
                let _ = stream.shutdown(how);
            }),
            Step::Close(index) => {
                if !self.streams.is_empty() {
                    let index = usize::from(index) % self.streams.len();
                    self.streams.swap_remove(index);
                }
            }
        }
    }

    /// Header and payload, in one descriptor or two.
    fn send(&mut self, header: &[u8; HEADER_LEN], payload: u16, cut: u8) {
        let rings = &mut self.rings[1];
        let address = rings.place().buffers();
        rings.write(address, header);
        let bytes = u32::try_from(HEADER_LEN).unwrap() + u32::from(payload);
        let first = u32::from(cut);
        match (1..bytes).contains(&first) {
            true => rings.offer_located(&[
                (address, first, false),
                (address + u64::from(first), bytes - first, false),
            ]),
            false => rings.offer_located(&[(address, bytes, false)]),
        }
    }

    fn serve(&mut self, event: u16) {
        // The three queues, and the host's side.
        let event = if event == 3 { HOST_EVENTS } else { event };
        let served = self
            .backend
            .handle_event(event, EventSet::IN, &self.vrings, 0);
        served.unwrap();
        while let Some(stream) = accept(&self.shim) {
            stream.set_nonblocking(true).unwrap();
            self.streams.push(stream);
        }
    }

    fn with(&mut self, index: u8, act: impl FnOnce(&mut UnixStream)) {
        if !self.streams.is_empty() {
            let index = usize::from(index) % self.streams.len();
            act(&mut self.streams[index]);
        }
    }

    /// Nothing of a guest's grows without bound.
    fn check(&mut self) {
        let connections = self.backend.device().connections();
        assert!(connections.len() <= MOST_CONNECTIONS);
        assert!(connections.held() <= MOST_HELD);
    }
}

fn vring(
    memory: &GuestMemoryAtomic<GuestMemoryMmap>,
    rings: &Rings,
    event_idx: bool,
) -> VringMutex {
    let vring = VringMutex::new(memory.clone(), SIZE).unwrap();
    let place = rings.place();
    vring.set_queue_size(SIZE);
    vring
        .set_queue_info(place.table(), place.available(), place.used())
        .unwrap();
    vring.set_queue_event_idx(event_idx);
    vring.set_queue_ready(true);
    vring.set_enabled(true);
    vring
}

/// A connection that the device hands to the shim.
fn accept(shim: &OwnedFd) -> Option<UnixStream> {
    let mut message = [0; 8];
    let mut iov = [std::io::IoSliceMut::new(&mut message)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(shim.as_raw_fd(), &mut iov, Some(&mut space), flags).ok()?;
    let Some(ControlMessageOwned::ScmRights(fds)) = received.cmsgs().unwrap().next() else {
        panic!("a connection without a descriptor");
    };
    // SAFETY: the kernel has just made it for this process.
    Some(unsafe { UnixStream::from_raw_fd(fds[0]) })
}
