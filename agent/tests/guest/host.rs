//! The host's side of the guest's connections, as the shim has it.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex};

use protocol::{Token, ports};
use rustix::fd::OwnedFd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

type Waiting = Arc<Mutex<HashMap<[u8; 16], oneshot::Sender<UnixStream>>>>;

/// Connections by what they are for.
pub(crate) struct Host {
    waiting: Waiting,
}

impl Host {
    /// Receives connections on `handover`; the first to the control port is the
    /// agent's.
    pub(crate) fn receive(handover: OwnedFd) -> (Self, oneshot::Receiver<UnixStream>) {
        let (sender, mut connections) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Some(connection) = next(&handover) {
                if sender.send(connection).is_err() {
                    return;
                }
            }
        });
        let (control, agent) = oneshot::channel();
        let waiting = Waiting::default();
        let streams = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut control = Some(control);
            while let Some((port, fd)) = connections.recv().await {
                let stream = stream(fd);
                match port {
                    ports::CONTROL => drop(control.take().unwrap().send(stream)),
                    ports::STDIO => drop(tokio::spawn(deliver(stream, Arc::clone(&streams)))),
                    other => panic!("the guest dialled port {other}"),
                }
            }
        });
        (Self { waiting }, agent)
    }

    /// The stream that the agent will open with `token`.
    pub(crate) fn expect(&self, token: Token) -> oneshot::Receiver<UnixStream> {
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap()
            .insert(*token.as_bytes(), sender);
        receiver
    }
}

async fn deliver(mut stream: UnixStream, waiting: Waiting) {
    let mut token = [0; Token::LEN];
    stream.read_exact(&mut token).await.unwrap();
    let receiver = waiting.lock().unwrap().remove(&token);
    // The case may have ended.
    let _ = receiver.expect("a stream nobody asked for").send(stream);
}

fn stream(fd: OwnedFd) -> UnixStream {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

/// One message: destination port, source port, a descriptor.
fn next(handover: &OwnedFd) -> Option<(u32, OwnedFd)> {
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(handover, slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    if message.bytes == 0 {
        return None;
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Some((
        u32::from_le_bytes(bytes[..4].try_into().unwrap()),
        fd.unwrap(),
    ))
}
