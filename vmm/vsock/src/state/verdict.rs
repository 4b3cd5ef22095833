//! What the table of connections answers.

use super::connection::Key;
use super::limits::MAX_CONNECTIONS;
use super::packet::Header;

/// Name of a connection that is never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u64);

/// What to do about a packet of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered or needs no answer.
    Done,
    /// Make a host's end, then call [`super::connections::Connections::open`] or
    /// [`super::connections::Connections::refuse`].
    Open(Key),
    /// Hand its payload to the host's end.
    Deliver(Id),
    /// The host's end may have a new [`super::connection::HostDuty`].
    Changed(Id),
    /// It broke a rule. The connection, if there was one, may have changed.
    Refused(Option<Id>, Refusal),
}

/// Why a packet was answered with a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a stream packet from this guest to the host.
    #[error("it is not a stream packet from this guest to the host")]
    Misaddressed,
    /// No such port.
    #[error("it dials a port that is not served")]
    Port,
    /// Too many connections.
    #[error("there are {MAX_CONNECTIONS} connections already")]
    Full,
    /// No such connection.
    #[error("it belongs to no connection")]
    Unknown,
    /// An operation that makes no sense on this connection.
    #[error("its operation is not possible on this connection")]
    Operation,
    /// Data that was not granted, or announced not to come.
    #[error("it carries data that the guest may not send")]
    Overrun,
    /// Fewer octets than the header says.
    #[error("it is shorter than its header says")]
    Truncated,
}

/// What to send to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// This header alone.
    Packet(Header),
    /// Payload of at most so many octets from the host's end: then call
    /// [`super::connections::Connections::sent`], [`super::connections::Connections::emptied`] or
    /// [`super::connections::Connections::host_ended`].
    Data(Id, u32),
}
