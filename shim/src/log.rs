//! The shim's log: lines into the FIFO `log` of its bundle, which containerd
//! copies into its own log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Logs `level` and above, and a panic. Without the FIFO there is no log: the
/// shim's standard streams go nowhere.
pub(crate) fn init(level: &str) {
    let Ok(fifo) = open() else {
        return;
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(Fifo(Arc::new(fifo)))
        .with_ansi(false)
        .finish();
    // Fails only when there is a subscriber already, which then logs.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Opened for reading too: while containerd restarts nobody else has it open.
fn open() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open("log")
}

#[derive(Clone)]
struct Fifo(Arc<File>);

impl Write for Fifo {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (&*self.0).write(line) {
            // Full, and nobody reads: a line is lost rather than the pod.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(line.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Fifo {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
