//! How a terminal comes from the container, in whose `/dev/pts` it was opened,
//! to the agent: over a UNIX socket that the helper connects to.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Failure;
use rustix::fd::OwnedFd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use tokio::io::Interest;

use super::failed;
use crate::descriptor;

const FOLDER: &str = "/run/consoles";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A socket for one terminal.
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// A new socket under a name of its own; short, as a socket's must be.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::listen_in(Path::new(FOLDER)).map_err(|error| failed("listen for a terminal", error))
    }

    fn listen_in(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// What the helper is to connect to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master side. To be called when the helper has reported:
    /// it has connected by then, and the process it has started sends.
    pub(crate) async fn receive(&self) -> Result<OwnedFd, Failure> {
        let received = match self.listener.accept() {
            Ok((stream, _)) => receive(stream.into()).await,
            Err(error) => Err(error),
        };
        received.map_err(|error| failed("receive the terminal", error))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The name alone; it lies on a tmpfs of the guest.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn receive(stream: OwnedFd) -> io::Result<OwnedFd> {
    let stream = descriptor::watch(stream, Interest::READABLE)?;
    loop {
        let mut ready = stream.readable().await?;
        if let Ok(received) = ready.try_io(|stream| receive_now(stream.get_ref())) {
            return received;
        }
    }
}

fn receive_now(stream: &OwnedFd) -> io::Result<OwnedFd> {
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(stream, slices, &mut control, flags)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::other("none was sent"))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::unix::net::UnixStream;

    use rustix::fd::AsFd;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    #[tokio::test]
    async fn the_descriptor_arrives_and_the_name_goes() {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::listen_in(folder.path()).unwrap();
        let helper = UnixStream::connect(console.path()).unwrap();
        let file = tempfile::tempfile().unwrap();
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(
            &helper,
            &[IoSlice::new(b"x")],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();

        let received = console.receive().await.unwrap();
        let number = |fd: &dyn AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
        assert_eq!(number(&received), number(&file));
        let path = console.path().to_owned();
        drop(console);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_helper_that_sent_nothing_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::listen_in(folder.path()).unwrap();
        assert!(console.receive().await.is_err());
        drop(UnixStream::connect(console.path()).unwrap());
        assert!(console.receive().await.is_err());
    }
}
