//! Standard streams: containerd's FIFOs on one side, a connection from the
//! guest per stream on the other, nothing in between but bytes.

mod fifo;
mod process_io;
mod streams;

pub(crate) use process_io::{ProcessIo, StdioPaths};
pub(crate) use streams::Streams;
