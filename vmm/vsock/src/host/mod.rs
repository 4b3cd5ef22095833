//! The host's side: one socket per connection, of which the other end is the
//! shim's; the socket on which the shim is given those ends; and the epoll set
//! that tells when any of them can be served.

pub mod backlog;
pub mod end;
pub mod events;
pub mod handover;
