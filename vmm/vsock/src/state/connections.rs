//! All connections of a guest: which exist, whose turn it is to send, and the
//! resets owed to nobody in particular.

use super::connection::{Connection, HostDuty, Key, Wish};
use super::limits::{
    CLOSE_TIMEOUT, FEW_CONNECTIONS, LARGE_BUFFER, MAX_CONNECTIONS, MAX_REPLIES, SMALL_BUFFER,
};
use super::packet::{Directions, HOST_CID, Header, Op, TYPE_STREAM};
use super::stage::{Event, Reply, Stage};
use super::verdict::{Id, Outgoing, Refusal, Verdict};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// The table of connections.
#[derive(Debug)]
pub struct Connections {
    guest_cid: u64,
    ports: Vec<u32>,
    by_id: HashMap<Id, Connection>,
    by_key: HashMap<Key, Id>,
    ready: VecDeque<Id>,
    replies: VecDeque<Header>,
    last_id: u64,
    has_new_closing: bool,
}

impl Connections {
    /// No connections yet; `ports` are the host's ports that may be dialed.
    #[must_use]
    pub fn new(guest_cid: u32, ports: Vec<u32>) -> Self {
        Self {
            guest_cid: guest_cid.into(),
            ports,
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            last_id: 0,
            has_new_closing: false,
        }
    }

    /// Connections of any stage.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Octets taken from the guest that no host's end has taken yet.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.by_id.values().map(|c| u64::from(c.held())).sum()
    }

    /// Whether [`Self::next_packet`] may have something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.replies.is_empty() || !self.ready.is_empty()
    }

    /// Whether so many replies wait that no more packets of the guest should
    /// be read.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.replies.len() >= MAX_REPLIES
    }

    /// What the host's end of a connection has to do; `None` when the
    /// connection is gone.
    #[must_use]
    pub fn host_duty(&self, id: Id) -> Option<HostDuty> {
        self.by_id.get(&id).map(Connection::host_duty)
    }

    /// A packet of the guest whose buffer has room for `carried` octets of
    /// payload.
    pub fn receive(&mut self, header: &Header, carried: usize) -> Verdict {
        if header.kind != TYPE_STREAM
            || header.src_cid != self.guest_cid
            || header.dst_cid != HOST_CID
        {
            return self.refuse(header, Refusal::Misaddressed);
        }
        let key = Key {
            guest_port: header.src_port,
            host_port: header.dst_port,
        };
        match (Op::from_wire(header.op), self.by_key.get(&key).copied()) {
            (Some(Op::Request), known) => self.receive_request(header, key, known),
            (_, None) => self.refuse(header, Refusal::Unknown),
            (op, Some(id)) => self.receive_on(id, op, header, carried),
        }
    }

    /// Answers a packet with a reset, unless it is one.
    pub fn refuse(&mut self, header: &Header, why: Refusal) -> Verdict {
        if header.op == Op::Reset.wire() {
            return Verdict::Done;
        }
        self.replies.push_back(header.reset());
        Verdict::Refused(None, why)
    }

    fn receive_request(&mut self, request: &Header, key: Key, known: Option<Id>) -> Verdict {
        if let Some(id) = known {
            if self.by_id.get(&id).is_some_and(|c| c.stage == Stage::Open) {
                return self.violated(id, Refusal::Operation);
            }
            self.step(id, Event::Superseded);
        }
        if !self.ports.contains(&key.host_port) {
            return self.refuse(request, Refusal::Port);
        }
        if self.by_id.len() >= MAX_CONNECTIONS {
            return self.refuse(request, Refusal::Full);
        }
        Verdict::Open(key)
    }

    fn receive_on(&mut self, id: Id, op: Option<Op>, header: &Header, carried: usize) -> Verdict {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return self.refuse(header, Refusal::Unknown);
        };
        connection.update_credit(header);
        match op {
            Some(Op::Data) => return self.receive_data(id, header.len, carried),
            Some(Op::Shutdown) => {
                connection.guest_gave_up(Directions::from_flags(header.flags));
            }
            Some(Op::Reset) => self.step(id, Event::GuestReset),
            Some(Op::CreditRequest) => connection.guest_asked_for_credit(),
            Some(Op::CreditUpdate) => {}
            Some(Op::Request | Op::Response) | None => {
                return self.violated(id, Refusal::Operation);
            }
        }
        self.settle(id);
        Verdict::Changed(id)
    }

    fn receive_data(&mut self, id: Id, len: u32, carried: usize) -> Verdict {
        if usize::try_from(len).map_or(true, |len| len > carried) {
            return self.violated(id, Refusal::Truncated);
        }
        let Some(taken) = self.by_id.get_mut(&id).map(|c| c.take_data(len)) else {
            return Verdict::Done;
        };
        self.settle(id);
        match taken {
            Ok(true) => Verdict::Deliver(id),
            Ok(false) => Verdict::Done,
            Err(_) => self.violated(id, Refusal::Overrun),
        }
    }

    fn violated(&mut self, id: Id, why: Refusal) -> Verdict {
        self.step(id, Event::Violation);
        Verdict::Refused(Some(id), why)
    }

    /// The connection that `request` asked for has got a host's end.
    pub fn open(&mut self, key: Key, request: &Header) -> Id {
        self.last_id += 1;
        let id = Id(self.last_id);
        let buffer = if self.by_id.len() < FEW_CONNECTIONS {
            LARGE_BUFFER
        } else {
            SMALL_BUFFER
        };
        self.by_id.insert(id, Connection::new(key, request, buffer));
        self.by_key.insert(key, id);
        self.settle(id);
        id
    }

    /// The host's end may have something to read.
    pub fn host_readable(&mut self, id: Id) {
        self.with(id, |connection| connection.readable = true);
    }

    /// The host's end has nothing to read for now.
    pub fn emptied(&mut self, id: Id) {
        self.with(id, |connection| connection.readable = false);
    }

    /// The host will send no more.
    pub fn host_ended(&mut self, id: Id) {
        self.with(id, Connection::host_ended);
    }

    /// The host's end took `len` octets of what the guest sent.
    pub fn forwarded(&mut self, id: Id, len: u32) {
        self.with(id, |connection| connection.forwarded(len));
    }

    /// The host takes no more; what it has not taken is lost.
    pub fn host_gone(&mut self, id: Id) {
        self.with(id, Connection::host_is_gone);
    }

    /// The header for `len` octets of payload that were read for
    /// [`Outgoing::Data`].
    pub fn sent(&mut self, id: Id, len: u32) -> Option<Header> {
        let guest_cid = self.guest_cid;
        let connection = self.by_id.get_mut(&id)?;
        let header = connection.header(guest_cid, Op::Data, 0, len);
        self.settle(id);
        Some(header)
    }

    /// The next thing to send: resets first, then each connection in turn.
    pub fn next_packet(&mut self) -> Option<Outgoing> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(Outgoing::Packet(reply));
        }
        while let Some(id) = self.ready.pop_front() {
            if let Some(outgoing) = self.next_of(id) {
                return Some(outgoing);
            }
        }
        None
    }

    fn next_of(&mut self, id: Id) -> Option<Outgoing> {
        let connection = self.by_id.get_mut(&id)?;
        connection.queued = false;
        match connection.wish()? {
            Wish::Data(limit) => Some(Outgoing::Data(id, limit)),
            Wish::Control(op, flags) => {
                let header = connection.header(self.guest_cid, op, flags, 0);
                self.has_new_closing |= connection.has_told_all();
                self.settle(id);
                Some(Outgoing::Packet(header))
            }
        }
    }

    /// Whether [`Self::tick`] has to be called, apart from deadlines.
    #[must_use]
    pub fn has_new_closing(&self) -> bool {
        self.has_new_closing
    }

    /// Resets the connections whose time is up and starts the clock of those
    /// that began to close. The time of the next call, if one is needed.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        self.has_new_closing = false;
        let mut next = None;
        let mut expired = Vec::new();
        for (id, connection) in &mut self.by_id {
            if connection.stage != Stage::Closing || !connection.has_told_all() {
                continue;
            }
            let deadline = *connection.deadline.get_or_insert(now + CLOSE_TIMEOUT);
            if deadline <= now {
                expired.push(*id);
            } else {
                next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
            }
        }
        for id in expired {
            self.step(id, Event::Expired);
        }
        next
    }

    /// The guest's driver is another: it knows of no connection, and is owed no
    /// answer. What the last one sent is still handed on. The connections that
    /// there were.
    pub fn forget_guest(&mut self) -> Vec<Id> {
        self.replies.clear();
        let ids: Vec<Id> = self.by_id.keys().copied().collect();
        for id in &ids {
            self.step(*id, Event::GuestReset);
        }
        ids
    }

    fn with(&mut self, id: Id, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.by_id.get_mut(&id) {
            change(connection);
            self.settle(id);
        }
    }

    /// Draws the conclusions of a change: the next stage, and a place in the
    /// queue of those that have something to send.
    fn settle(&mut self, id: Id) {
        if let Some(event) = self.by_id.get(&id).and_then(due_event) {
            self.step(id, event);
        }
        if let Some(connection) = self.by_id.get_mut(&id)
            && connection.has_wish()
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    fn step(&mut self, id: Id, event: Event) {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return;
        };
        let Some((stage, reply)) = connection.stage.after(event) else {
            return;
        };
        connection.stage = stage;
        let key = connection.key;
        if reply == Reply::Reset {
            let reset = connection.header(self.guest_cid, Op::Reset, 0, 0);
            self.replies.push_back(reset);
        }
        if !stage.has_address() {
            self.by_key.remove(&key);
        }
        self.enter(id, stage);
    }

    fn enter(&mut self, id: Id, stage: Stage) {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return;
        };
        match stage {
            Stage::Open => {}
            Stage::Closing => {
                connection.close();
                self.settle(id);
            }
            Stage::Draining => {
                connection.guest_gave_up(Directions::BOTH);
                self.settle(id);
            }
            Stage::Gone => {
                if connection.queued {
                    self.ready.retain(|ready| *ready != id);
                }
                self.by_id.remove(&id);
            }
        }
    }
}

/// What has happened to a connection as a whole, going by its directions.
fn due_event(connection: &Connection) -> Option<Event> {
    match connection.stage {
        Stage::Open | Stage::Closing if connection.is_guest_done() => Some(Event::GuestDone),
        Stage::Open if connection.are_both_over() => Some(Event::BothOver),
        Stage::Draining if connection.held() == 0 => Some(Event::Drained),
        _ => None,
    }
}
