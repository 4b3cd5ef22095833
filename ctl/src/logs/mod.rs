//! Container logs: read from the files that the runtime writes.

mod follow;
mod line;
mod print;
mod watch;

pub use follow::{Follower, follow};
pub use line::{LogLine, LogStream};
pub use print::{Printer, Terminal};
