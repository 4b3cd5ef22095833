//! One connection: its two windows, its two directions, and what it owes the
//! guest.

use super::credit::{Allowed, Granted, Overrun};
use super::packet::{Directions, HOST_CID, Header, Op, TYPE_STREAM};
use super::stage::Stage;
use std::time::Instant;

/// The address of a connection, as the guest sees it. The context ids are
/// always the guest's and the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Port of the guest's socket.
    pub guest_port: u32,
    /// Port of the host it dialed.
    pub host_port: u32,
}

/// What a connection wants to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A packet without payload, with these flags.
    Control(Op, u32),
    /// Payload from the host's end, at most this many octets.
    Data(u32),
}

/// What the host's end of a connection has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostDuty {
    /// Stay open at all.
    pub open: bool,
    /// Tell the host that no more data will come.
    pub shut_write: bool,
    /// Tell the host that no more data will be taken.
    pub shut_read: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) key: Key,
    pub(super) stage: Stage,
    granted: Granted,
    allowed: Allowed,
    /// Directions the guest has given up.
    guest_over: Directions,
    /// Directions our side has given up.
    host_over: Directions,
    /// What of `host_over` the guest has been told.
    told: Directions,
    owes_response: bool,
    owes_update: bool,
    asked_for_credit: bool,
    /// When a connection that is closing has waited long enough.
    pub(super) deadline: Option<Instant>,
    /// The host's end may have something to read.
    pub(super) readable: bool,
    /// It stands in the queue of connections that have something to send.
    pub(super) queued: bool,
}

impl Connection {
    /// The connection that `request` opens, with a receive buffer of
    /// `buf_alloc` octets.
    pub(super) fn new(key: Key, request: &Header, buf_alloc: u32) -> Self {
        Self {
            key,
            stage: Stage::Open,
            granted: Granted::new(buf_alloc),
            allowed: Allowed::new(request.buf_alloc, request.fwd_cnt),
            guest_over: Directions::NONE,
            host_over: Directions::NONE,
            told: Directions::NONE,
            owes_response: true,
            owes_update: false,
            asked_for_credit: false,
            deadline: None,
            readable: false,
            queued: false,
        }
    }

    /// Octets taken from the guest that the host's end has not taken yet.
    pub fn held(&self) -> u32 {
        self.granted.held()
    }

    /// Whether data from the guest has somewhere to go.
    fn takes_data(&self) -> bool {
        !self.guest_over.contains(Directions::SEND) && !self.host_over.contains(Directions::RECEIVE)
    }

    /// Whether data from the host has somewhere to go.
    fn gives_data(&self) -> bool {
        !self.guest_over.contains(Directions::RECEIVE) && !self.host_over.contains(Directions::SEND)
    }

    /// Whether the guest gave up both directions.
    pub(super) fn is_guest_done(&self) -> bool {
        self.guest_over.contains(Directions::BOTH)
    }

    /// Whether neither direction can carry data any more.
    pub(super) fn are_both_over(&self) -> bool {
        !self.takes_data() && !self.gives_data() && self.held() == 0
    }

    /// Whether the guest knows that both directions are over.
    pub(super) fn has_told_all(&self) -> bool {
        self.told.contains(Directions::BOTH)
    }

    /// Every packet of the guest carries its credit.
    pub(super) fn update_credit(&mut self, header: &Header) {
        self.allowed.update(header.buf_alloc, header.fwd_cnt);
        if self.allowed.available() > 0 {
            self.asked_for_credit = false;
        }
    }

    /// Data of `len` octets came from the guest. Whether it is to be handed
    /// on: the guest may not know yet that nobody takes it.
    ///
    /// # Errors
    /// [`Overrun`] when the guest ignores its credit, or its own word that it
    /// would send no more.
    pub(super) fn take_data(&mut self, len: u32) -> Result<bool, Overrun> {
        if self.guest_over.contains(Directions::SEND) {
            return Err(Overrun);
        }
        self.granted.accept(len)?;
        if !self.takes_data() {
            self.granted.forward(len);
        }
        Ok(self.takes_data())
    }

    /// The host's end took `len` octets of what the guest sent.
    pub(super) fn forwarded(&mut self, len: u32) {
        self.granted.forward(len);
    }

    pub(super) fn guest_gave_up(&mut self, directions: Directions) {
        self.guest_over.add(directions);
    }

    pub(super) fn guest_asked_for_credit(&mut self) {
        self.owes_update = true;
    }

    /// The host will send no more.
    pub(super) fn host_ended(&mut self) {
        self.host_over.add(Directions::SEND);
        self.readable = false;
    }

    /// The host will take no more: what it has not taken is lost.
    pub(super) fn host_is_gone(&mut self) {
        self.host_over.add(Directions::RECEIVE);
        self.granted.forward(self.held());
    }

    /// Both directions are over and the guest is to know.
    pub(super) fn close(&mut self) {
        self.host_over = Directions::BOTH;
    }

    /// What the host's end has to do now.
    pub(super) fn host_duty(&self) -> HostDuty {
        HostDuty {
            open: self.stage.needs_host(),
            shut_write: self.guest_over.contains(Directions::SEND) && self.held() == 0,
            shut_read: self.guest_over.contains(Directions::RECEIVE),
        }
    }

    /// The most urgent thing to send. Asking again gives the next one.
    pub(super) fn wish(&mut self) -> Option<Wish> {
        if !self.stage.has_address() {
            return None;
        }
        if std::mem::take(&mut self.owes_response) {
            return Some(Wish::Control(Op::Response, 0));
        }
        if !self.told.contains(self.host_over) {
            self.told = self.host_over;
            return Some(Wish::Control(Op::Shutdown, self.told.flags()));
        }
        if self.stage != Stage::Open {
            return None;
        }
        self.wish_for_data()
    }

    /// Data goes before a credit update because it carries one.
    fn wish_for_data(&mut self) -> Option<Wish> {
        let waiting = self.readable && self.gives_data();
        let available = self.allowed.available();
        if waiting && available > 0 {
            return Some(Wish::Data(available));
        }
        if self.owes_update || self.granted.is_worth_announcing() {
            return Some(Wish::Control(Op::CreditUpdate, 0));
        }
        if waiting && !std::mem::replace(&mut self.asked_for_credit, true) {
            return Some(Wish::Control(Op::CreditRequest, 0));
        }
        None
    }

    /// Whether [`Self::wish`] would answer something.
    pub(super) fn has_wish(&self) -> bool {
        let waiting = self.readable && self.gives_data();
        let may_ask = self.allowed.available() > 0 || !self.asked_for_credit;
        let about_data =
            (waiting && may_ask) || self.owes_update || self.granted.is_worth_announcing();
        self.stage.has_address()
            && (self.owes_response
                || !self.told.contains(self.host_over)
                || (self.stage == Stage::Open && about_data))
    }

    /// The header of a packet to the guest, with our credit in it.
    pub(super) fn header(&mut self, guest_cid: u64, op: Op, flags: u32, len: u32) -> Header {
        let (buf_alloc, fwd_cnt) = self.granted.announce();
        self.owes_update = false;
        self.allowed.spend(len);
        Header {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: self.key.host_port,
            dst_port: self.key.guest_port,
            len,
            kind: TYPE_STREAM,
            op: op.wire(),
            flags,
            buf_alloc,
            fwd_cnt,
        }
    }
}
