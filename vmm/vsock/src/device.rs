//! The device without its queues: packets of the guest go in, packets for the
//! guest come out, and the connections' host ends are served in between.

use crate::complaints::Complaints;
use crate::host::end::{HostEnd, Received};
use crate::host::events::{Events, HostEvent, Readiness};
use crate::host::handover::Handover;
use crate::ring::chain::{BadChain, Buffer};
use crate::state::connection::Key;
use crate::state::connections::Connections;
use crate::state::packet::Header;
use crate::state::verdict::{Id, Outgoing, Refusal, Verdict};
use nix::errno::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The most payload in one packet to the guest, octets. Larger ones would
/// only make the other connections wait longer.
pub const MAX_PAYLOAD: u32 = 64 << 10;

/// Whether there is still someone to hand connections to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shim {
    /// The handover socket is open.
    Present,
    /// The shim has closed it.
    Gone,
}

/// The device.
#[derive(Debug)]
pub struct Device {
    connections: Connections,
    hosts: HashMap<Id, HostEnd>,
    handover: Handover,
    events: Events,
    complaints: Complaints,
}

impl Device {
    /// A device of the guest `guest_cid`, whose connections to `ports` are
    /// handed over on `handover`.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new(guest_cid: u32, ports: Vec<u32>, handover: OwnedFd) -> Result<Self, Errno> {
        let handover = Handover::new(handover);
        Ok(Self {
            connections: Connections::new(guest_cid, ports),
            hosts: HashMap::new(),
            events: Events::new(handover.socket())?,
            handover,
            complaints: Complaints::default(),
        })
    }

    /// The connections, to look at.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Readable when [`Self::serve_host`] has something to do.
    #[must_use]
    pub fn host_events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Whether packets of the guest may be taken now.
    #[must_use]
    pub fn takes_packets(&self) -> bool {
        !self.connections.is_congested()
    }

    /// Whether there may be packets for the guest.
    #[must_use]
    pub fn has_packets(&self) -> bool {
        self.connections.has_output()
    }

    /// A packet of the guest.
    pub fn transmit(&mut self, packet: &Buffer<'_>) {
        let header = Header::decode(&packet.read_header());
        match self.connections.receive(&header, packet.room()) {
            Verdict::Done => {}
            Verdict::Open(key) => self.open(key, &header),
            Verdict::Deliver(id) => self.deliver(id, packet, header.len),
            Verdict::Changed(id) => self.follow(id),
            Verdict::Refused(id, why) => {
                self.complaints.about_packet(&header, why);
                id.into_iter().for_each(|id| self.follow(id));
            }
        }
    }

    /// A buffer of the guest that cannot be used.
    pub fn reject(&mut self, why: &BadChain) {
        self.complaints.about_chain(why);
    }

    /// A queue of the guest that cannot be served.
    pub fn complain_about_queue(&mut self, queue: usize, error: &virtio_queue::Error) {
        self.complaints.about_queue(queue, error);
    }

    /// Fills `room` with a packet for the guest. The octets written, or `None`
    /// when there is none to send.
    pub fn receive(&mut self, room: &Buffer<'_>) -> Option<u32> {
        while let Some(outgoing) = self.connections.next_packet() {
            let header = match outgoing {
                Outgoing::Packet(header) => Some(header),
                Outgoing::Data(id, limit) => self.fetch(id, limit, room),
            };
            if let Some(header) = header {
                room.write_header(&header.encode());
                return Some(header.packet_len());
            }
        }
        None
    }

    /// The guest's driver has reset the device.
    pub fn reset(&mut self) {
        for id in self.connections.forget_guest() {
            self.follow(id);
        }
    }

    /// Deals with what happened on the host's side.
    pub fn serve_host(&mut self) -> Shim {
        self.serve_host_within(Duration::ZERO)
    }

    /// Hands on what the guest sent, for at most `patience`: its machine is
    /// gone and nothing more will come.
    pub fn finish(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.connections.held() > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.serve_host_within(left) == Shim::Gone {
                return;
            }
        }
    }

    fn serve_host_within(&mut self, timeout: Duration) -> Shim {
        let mut shim = Shim::Present;
        for event in self.events.take(timeout).unwrap_or_default() {
            match event {
                HostEvent::Connection(id, readiness) => self.serve_end(id, readiness),
                HostEvent::Handover(readiness) if readiness.hung_up => shim = Shim::Gone,
                HostEvent::Handover(_) => self.handover.resume(),
                HostEvent::Timer => self.tick(),
                HostEvent::Again => {}
            }
        }
        shim
    }

    /// Starts the clock of connections that began to close. To be called
    /// after a batch of packets for the guest.
    pub fn settle(&mut self) {
        if self.connections.has_new_closing() {
            self.tick();
        }
    }

    /// There is more to do, but others are to have their turn first.
    pub fn come_back(&self) {
        // Fails only when the counter is at its end: then it is set anyway.
        let _ = self.events.wake_again();
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let next = self.connections.tick(now);
        // Fails for arguments that cannot come up. A timer less would mean
        // that a closed connection is remembered longer.
        let _ = self.events.wake_at(next, now);
    }

    fn open(&mut self, key: Key, request: &Header) {
        let pair = HostEnd::pair().and_then(|(ours, theirs)| {
            self.handover
                .offer(key, theirs)
                .map_err(std::io::Error::other)?;
            Ok(ours)
        });
        match pair {
            Ok(end) => self.connect(key, request, end),
            Err(error) => {
                self.complaints.about_opening(key, &error);
                self.connections.refuse(request, Refusal::Full);
            }
        }
    }

    fn connect(&mut self, key: Key, request: &Header, end: HostEnd) {
        let id = self.connections.open(key, request);
        // Without its events a connection would hang: close it at once.
        if let Err(error) = self.events.watch(end.stream(), id) {
            self.complaints.about_opening(key, &error.into());
            self.connections.host_gone(id);
            self.connections.host_ended(id);
            return;
        }
        self.hosts.insert(id, end);
    }

    fn deliver(&mut self, id: Id, packet: &Buffer<'_>, len: u32) {
        let Some(end) = self.hosts.get_mut(&id) else {
            return;
        };
        // `len` is within the packet, which is within the address space.
        match end.send(packet.payload(len as usize)) {
            Ok(sent) => self.forwarded(id, sent),
            Err(_) => self.connections.host_gone(id),
        }
        self.follow(id);
    }

    fn forwarded(&mut self, id: Id, count: usize) {
        // A backlog is smaller than 4 GiB by far.
        self.connections
            .forwarded(id, u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Payload for the guest from the host's end of a connection. No header
    /// when there is none after all.
    fn fetch(&mut self, id: Id, limit: u32, room: &Buffer<'_>) -> Option<Header> {
        let limit = limit.min(MAX_PAYLOAD) as usize;
        let end = self.hosts.get(&id)?;
        let header = match end.receive(room.payload(limit)) {
            Received::Bytes(count) => self.connections.sent(id, u32::try_from(count).ok()?),
            Received::Empty => {
                self.connections.emptied(id);
                None
            }
            Received::End => {
                self.connections.host_ended(id);
                None
            }
        };
        self.follow(id);
        header
    }

    fn serve_end(&mut self, id: Id, readiness: Readiness) {
        let Some(end) = self.hosts.get_mut(&id) else {
            return;
        };
        if readiness.hung_up {
            self.connections.host_gone(id);
        } else if readiness.writable {
            match end.flush() {
                Ok(count) => self.forwarded(id, count),
                Err(_) => self.connections.host_gone(id),
            }
        }
        if readiness.readable {
            self.connections.host_readable(id);
        }
        self.follow(id);
    }

    /// Makes the host's end do what its connection has come to.
    fn follow(&mut self, id: Id) {
        let duty = self.connections.host_duty(id).filter(|duty| duty.open);
        let (Some(duty), Some(end)) = (duty, self.hosts.get_mut(&id)) else {
            self.hosts.remove(&id);
            return;
        };
        if duty.shut_write {
            end.shut_write();
        }
        if duty.shut_read {
            end.shut_read();
        }
    }
}
