//! The device between a modelled guest and real sockets.

// The kernel gives descriptors as numbers.
#![allow(unsafe_code)]

use crate::guest::{Socket, octet};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use std::collections::HashMap;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use vm_memory::VolatileSlice;
use vsock_device::device::Device;
use vsock_device::ring::chain::Buffer;
use vsock_device::state::packet::{Directions, HEADER_LEN, Header, Op};

/// The shim's end of a connection.
#[derive(Debug)]
struct Host {
    stream: Option<UnixStream>,
    sent: u64,
    read: u64,
    /// It has given up sending.
    ended: bool,
    /// It has seen the guest's end.
    saw_end: bool,
    /// An end came that is not that of a stream: data was left unread.
    cut_off: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) device: Device,
    shim: OwnedFd,
    /// Ports of the connections that steps are about.
    slots: Vec<Option<u32>>,
    next_port: u32,
    guests: HashMap<u32, Socket>,
    hosts: HashMap<u32, Host>,
}

impl World {
    pub(crate) fn new(slots: usize) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, shim) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        Self {
            device: Device::new(3, vec![1024, 1025], ours).unwrap(),
            shim,
            slots: vec![None; slots],
            next_port: 1,
            guests: HashMap::new(),
            hosts: HashMap::new(),
        }
    }

    pub(crate) fn connect(&mut self, slot: usize) {
        if self.slots[slot].is_some_and(|port| !self.guests[&port].done) {
            return;
        }
        let port = self.next_port;
        self.next_port += 1;
        let socket = Socket::new(port);
        self.transmit(&socket.header(Op::Request), Vec::new());
        self.guests.insert(port, socket);
        self.slots[slot] = Some(port);
        let (handed, stream) = self.accept().expect("a connection");
        assert_eq!(handed, port);
        let host = Host {
            stream: Some(stream),
            sent: 0,
            read: 0,
            ended: false,
            saw_end: false,
            cut_off: false,
        };
        self.hosts.insert(port, host);
    }

    /// A descriptor that the device handed over, with the guest's port.
    fn accept(&self) -> Option<(u32, UnixStream)> {
        let mut message = [0; 8];
        let mut iov = [IoSliceMut::new(&mut message)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received =
            recvmsg::<()>(self.shim.as_raw_fd(), &mut iov, Some(&mut space), flags).ok()?;
        let Some(ControlMessageOwned::ScmRights(fds)) = received.cmsgs().unwrap().next() else {
            panic!("no descriptor");
        };
        // SAFETY: the kernel has just made this descriptor for us.
        let stream = unsafe { UnixStream::from_raw_fd(fds[0]) };
        let port = u32::from_le_bytes(message[4..].try_into().unwrap());
        Some((port, stream))
    }

    fn guest(&mut self, slot: usize) -> Option<&mut Socket> {
        let port = self.slots[slot]?;
        self.guests.get_mut(&port)
    }

    pub(crate) fn guest_sends(&mut self, slot: usize, len: usize) {
        let Some(port) = self.slots[slot] else { return };
        let socket = self.guests.get_mut(&port).unwrap();
        let len = u64::try_from(len).unwrap().min(socket.credit().into());
        if !socket.may_send() || len == 0 {
            return;
        }
        let payload = (0..len)
            .map(|i| octet(u64::from(port) * 2, socket.sent + i))
            .collect();
        let header = Header {
            len: u32::try_from(len).unwrap(),
            ..socket.header(Op::Data)
        };
        socket.sent += len;
        self.transmit(&header, payload);
    }

    pub(crate) fn guest_reads(&mut self, slot: usize, len: usize) {
        let Some(socket) = self.guest(slot) else {
            return;
        };
        if socket.read(u64::try_from(len).unwrap()) {
            let update = socket.header(Op::CreditUpdate);
            self.transmit(&update, Vec::new());
        }
    }

    pub(crate) fn guest_gives_up(&mut self, slot: usize, directions: Directions) {
        let Some(socket) = self.guest(slot) else {
            return;
        };
        if socket.done || !socket.established || socket.own.contains(directions) {
            return;
        }
        socket.own.add(directions);
        let header = Header {
            flags: socket.own.flags(),
            ..socket.header(Op::Shutdown)
        };
        self.transmit(&header, Vec::new());
    }

    pub(crate) fn host_sends(&mut self, slot: usize, len: usize) {
        let Some(port) = self.slots[slot] else { return };
        let host = self.hosts.get_mut(&port).unwrap();
        let (Some(stream), false) = (&host.stream, host.ended) else {
            return;
        };
        let (stream_id, sent) = (u64::from(port) * 2 + 1, host.sent);
        let len = u64::try_from(len).unwrap();
        let bytes: Vec<u8> = (0..len).map(|i| octet(stream_id, host.sent + i)).collect();
        let deaf = self.guests[&port].own.contains(Directions::RECEIVE);
        match { stream }.write(&bytes) {
            Ok(count) => host.sent += u64::try_from(count).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(!deaf),
            Err(error) => assert_eq!((error.kind(), deaf), (ErrorKind::BrokenPipe, true)),
        }
        assert!(
            !deaf || bytes.is_empty() || host.sent == sent,
            "sent to nobody"
        );
        self.serve_host();
    }

    pub(crate) fn host_reads(&mut self, slot: usize, len: usize) {
        if let Some(port) = self.slots[slot] {
            self.read_at(port, len);
        }
    }

    fn read_at(&mut self, port: u32, len: usize) {
        let host = self.hosts.get_mut(&port).unwrap();
        let Some(stream) = &host.stream else { return };
        let mut bytes = vec![0; len.max(1)];
        match { stream }.read(&mut bytes) {
            Ok(0) => host.saw_end = true,
            Ok(count) => {
                for byte in &bytes[..count] {
                    assert_eq!(
                        *byte,
                        octet(u64::from(port) * 2, host.read),
                        "at {}",
                        host.read
                    );
                    host.read += 1;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                host.cut_off = true;
            }
        }
        self.serve_host();
    }

    pub(crate) fn host_ends(&mut self, slot: usize) {
        let Some(port) = self.slots[slot] else { return };
        let host = self.hosts.get_mut(&port).unwrap();
        if let Some(stream) = &host.stream
            && !host.ended
        {
            host.ended = true;
            // Fails when the device has closed its end already.
            let _ = stream.shutdown(Shutdown::Write);
        }
        self.serve_host();
    }

    pub(crate) fn host_closes(&mut self, slot: usize) {
        if let Some(port) = self.slots[slot] {
            self.hosts.get_mut(&port).unwrap().stream = None;
        }
        self.serve_host();
    }

    /// The guest provides buffers; what they are filled with is delivered.
    pub(crate) fn provide(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            let Some((header, payload)) = self.receive_raw(size) else {
                return;
            };
            let socket = self.guests.get_mut(&header.dst_port).expect("a socket");
            if socket.done {
                continue;
            }
            if let Some(answer) = socket.receive(&header, &payload) {
                self.transmit(&answer, Vec::new());
            }
        }
    }

    /// One buffer with room for `size` octets of payload, in two parts.
    pub(crate) fn receive_raw(&mut self, size: usize) -> Option<(Header, Vec<u8>)> {
        let mut memory = vec![0; HEADER_LEN + size];
        let (first, second) = memory.split_at_mut(HEADER_LEN + size / 3);
        let room = Buffer::from(vec![first.into(), second.into()]);
        let written = usize::try_from(self.device.receive(&room)?).unwrap();
        let header = Header::decode(memory[..HEADER_LEN].try_into().unwrap());
        assert_eq!(written, HEADER_LEN + usize::try_from(header.len).unwrap());
        memory.truncate(written);
        Some((header, memory.split_off(HEADER_LEN)))
    }

    /// A packet cut into parts at places that depend on its length.
    fn transmit(&mut self, header: &Header, payload: Vec<u8>) {
        assert!(self.device.takes_packets());
        let mut packet = header.encode().to_vec();
        packet.extend(payload);
        let cut = packet.len() * 2 / 5;
        let (first, second) = packet.split_at_mut(cut);
        let slices: Vec<VolatileSlice<'_>> = vec![first.into(), second.into()];
        self.device.transmit(&Buffer::from(slices));
    }

    pub(crate) fn transmit_raw(&mut self, header: &Header, payload: usize) {
        if self.device.takes_packets() {
            self.transmit(header, vec![0; payload]);
        }
    }

    pub(crate) fn serve_host(&mut self) {
        self.device.serve_host();
    }

    /// The host ends of all connections that were handed over, not yet taken.
    pub(crate) fn hosts(&mut self) -> Vec<UnixStream> {
        std::iter::from_fn(|| self.accept())
            .map(|(_, stream)| stream)
            .collect()
    }

    /// Lets everything on its way arrive, checks that it has, and closes all.
    pub(crate) fn finish(&mut self) {
        self.drain();
        let ports: Vec<u32> = self.guests.keys().copied().collect();
        for port in &ports {
            self.check_guest_stream(*port);
            self.check_host_stream(*port);
        }
        for port in ports {
            self.hosts.get_mut(&port).unwrap().stream = None;
        }
        self.drain();
        assert!(self.guests.values().all(|socket| socket.done));
    }

    /// Lets everyone read until nothing moves any more.
    fn drain(&mut self) {
        let mut before = None;
        for _ in 0..1000 {
            if before == Some(self.progress()) && !self.device.has_packets() {
                return;
            }
            before = Some(self.progress());
            self.drain_once();
        }
        panic!("it goes on and on");
    }

    fn drain_once(&mut self) {
        self.serve_host();
        self.provide(1000, 4000);
        let ports: Vec<u32> = self.guests.keys().copied().collect();
        for port in ports {
            self.read_at(port, 100_000);
            let socket = self.guests.get_mut(&port).unwrap();
            if socket.read(u64::MAX) {
                let update = socket.header(Op::CreditUpdate);
                self.transmit(&update, Vec::new());
            }
        }
    }

    /// Numbers that grow with everything that happens.
    fn progress(&self) -> (u64, u64, usize) {
        let received = self.guests.values().map(|socket| socket.received).sum();
        let read = self.hosts.values().map(|host| host.read).sum();
        let ends = self
            .hosts
            .values()
            .filter(|host| host.saw_end || host.cut_off)
            .count();
        let done = self.guests.values().filter(|socket| socket.done).count();
        (received, read, ends + done)
    }

    /// What the guest sent has reached a host that stayed.
    fn check_guest_stream(&self, port: u32) {
        let (socket, host) = (&self.guests[&port], &self.hosts[&port]);
        if host.stream.is_none() {
            return;
        }
        assert_eq!(host.read, socket.sent, "to the host of {port}");
        // All was read, so at least half of the smallest window is open.
        assert!(!socket.may_send() || socket.credit() >= 16 << 10, "starved");
        let ended = socket.own.contains(Directions::SEND);
        assert_eq!(host.saw_end || host.cut_off, ended, "the end of {port}");
    }

    /// What the host sent has reached a guest that stayed.
    fn check_host_stream(&self, port: u32) {
        let (socket, host) = (&self.guests[&port], &self.hosts[&port]);
        if socket.own.contains(Directions::RECEIVE) {
            return;
        }
        assert_eq!(socket.received, host.sent, "to the guest of {port}");
        let ended = host.ended || host.stream.is_none();
        assert_eq!(
            socket.peer.contains(Directions::SEND),
            ended,
            "the end of {port}"
        );
    }
}
