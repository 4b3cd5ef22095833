//! The control socket of the built-in VMM (`vmm_api::control`): the request
//! that starts the machine, and what comes back until its end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use vmm_api::{
    Answer, Descriptor, Event, MAX_MESSAGE, MachineConfig, Message, Request, StopReason,
};

use super::requests::{Requests, Waiting};
use crate::machine::Verdict;
use crate::machine::descriptors::send;

/// The shim's end. It is a SOCK_SEQPACKET socket, for which tokio has no type
/// of its own; only its readiness is used.
pub(super) struct Control {
    socket: Arc<UnixStream>,
    waiting: Arc<Waiting>,
}

impl Control {
    /// Our end, and the VMM's.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let ours = std::os::unix::net::UnixStream::from(ours);
        // Ours alone: the VMM waits as it likes.
        ours.set_nonblocking(true)?;
        let control = Self {
            socket: Arc::new(UnixStream::from_std(ours)?),
            waiting: Arc::default(),
        };
        Ok((control, theirs))
    }

    /// To ask for more, once the machine was started.
    pub(super) fn requests(&self) -> Requests {
        Requests::new(Arc::clone(&self.socket), Arc::clone(&self.waiting))
    }

    /// Starts the machine `config` of `descriptors`. What it is over for is
    /// told by the verdict, once it is.
    ///
    /// # Errors
    ///
    /// The request cannot be sent. What the VMM does not like about it is a
    /// verdict.
    pub(super) async fn start(
        self,
        config: &MachineConfig,
        descriptors: Vec<(Descriptor, OwnedFd)>,
    ) -> io::Result<Verdict> {
        let (kinds, fds): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
        let request = Request::Start {
            machine: config.clone(),
            descriptors: kinds,
        };
        let request = serde_json::to_vec(&request)?;
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let send = || send(self.socket.as_raw_fd(), &request, &raw);
        // What it comes to is told by the verdict.
        self.waiting.add(None);
        self.socket.async_io(Interest::WRITABLE, send).await?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(self.listen(sender));
        Ok(Verdict::new(receiver))
    }

    /// Until the VMM closes its end, or says what nobody understands.
    async fn listen(self, verdict: watch::Sender<Option<String>>) {
        self.hear(verdict).await;
        self.waiting.give_up();
    }

    async fn hear(&self, verdict: watch::Sender<Option<String>>) {
        let mut bytes = vec![0; MAX_MESSAGE];
        loop {
            let receive = || {
                Ok(recv(
                    self.socket.as_raw_fd(),
                    &mut bytes,
                    MsgFlags::MSG_DONTWAIT,
                )?)
            };
            let length = match self.socket.async_io(Interest::READABLE, receive).await {
                Ok(length @ 1..) => length,
                // It ended with a request unread; what it said before is still there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Ok(_) | Err(_) => return,
            };
            let message = bytes.get(..length).unwrap_or_default();
            let Ok(message) = serde_json::from_slice(message) else {
                verdict.send_replace(Some("the VMM speaks another language".to_owned()));
                return;
            };
            if let Message::Answer(answer) = &message
                && let Some(asked) = self.waiting.next()
            {
                // Whoever asked may have lost patience.
                let _ = asked.send(answer.clone());
                continue;
            }
            if let Some(end) = end(message) {
                verdict.send_replace(Some(end));
            }
        }
    }
}

/// Why the machine is over, if `message` says so.
fn end(message: Message) -> Option<String> {
    match message {
        Message::Answer(Answer::Done | Answer::Stats(_) | Answer::Attached { .. }) => None,
        Message::Answer(Answer::Refused { why }) => Some(why),
        Message::Event(Event::Stopped { reason }) => Some(words(&reason)),
    }
}

fn words(reason: &StopReason) -> String {
    match reason {
        StopReason::Exited { status } => format!("the guest ended with status {status}"),
        StopReason::Rebooted => "the guest asked for a reset".to_owned(),
        StopReason::Panicked => "the guest's kernel panicked".to_owned(),
        StopReason::TripleFault => "the guest lost control of its processor".to_owned(),
        StopReason::Requested => "it was stopped".to_owned(),
        StopReason::DeviceLost { device } => format!("its {device} device is gone"),
        StopReason::Failed { what } => what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MachineConfig {
        MachineConfig {
            vcpus: 1,
            max_vcpus: 0,
            max_memory_mib: 0,
            memory_mib: 128,
            kernel: "/k".into(),
            initramfs: "/i".into(),
            kernel_parameters: String::new(),
            guest_cid: 3,
            share_tag: "share".into(),
            nets: Vec::new(),
            disks: Vec::new(),
        }
    }

    /// The other side, as the VMM's main thread would be.
    fn tell(vmm: &OwnedFd, messages: &[Message]) {
        for message in messages {
            let bytes = serde_json::to_vec(message).unwrap();
            send(vmm.as_raw_fd(), &bytes, &[]).unwrap();
        }
    }

    async fn verdict(messages: &[Message]) -> Option<String> {
        let (control, vmm) = Control::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let descriptors = vec![(Descriptor::Kernel, null.into())];
        let verdict = control.start(&config(), descriptors).await.unwrap();
        tell(&vmm, messages);
        drop(vmm);
        verdict.known().await
    }

    #[tokio::test]
    async fn the_reason_is_the_verdict() {
        let reason = StopReason::Panicked;
        let said = [
            Message::Answer(Answer::Done),
            Message::Event(Event::Stopped { reason }),
        ];
        let verdict = verdict(&said).await.unwrap();
        assert_eq!(verdict, "the guest's kernel panicked");
    }

    #[tokio::test]
    async fn a_refusal_is_a_verdict() {
        let why = "65 processors: a machine has 1 to 64".to_owned();
        let said = [Message::Answer(Answer::Refused { why: why.clone() })];
        assert_eq!(verdict(&said).await, Some(why));
    }

    #[tokio::test]
    async fn a_vmm_that_is_killed_leaves_no_verdict() {
        assert_eq!(verdict(&[Message::Answer(Answer::Done)]).await, None);
    }

    #[tokio::test]
    async fn answers_reach_who_asked_and_none_comes_after_the_end() {
        let (control, vmm) = Control::pair().unwrap();
        let requests = Arc::new(control.requests());
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let descriptors = vec![(Descriptor::Kernel, null())];
        let verdict = control.start(&config(), descriptors).await.unwrap();
        let disk = vmm_api::Pluggable::Disk(vmm_api::DiskConfig {
            serial: "data".into(),
            read_only: false,
            queues: 1,
        });
        let slot = "virtio-mmio.5".to_owned();
        let asking = async {
            let attached = requests.attach(disk.clone(), null());
            tokio::join!(attached, requests.detach(slot.clone()))
        };
        let answering = async {
            tokio::task::yield_now().await;
            let why = "it is in use".to_owned();
            let attached = Answer::Attached { slot: slot.clone() };
            let answers = [Answer::Done, attached, Answer::Refused { why }];
            tell(&vmm, &answers.map(Message::Answer));
        };
        let ((attached, detached), ()) = tokio::join!(asking, answering);
        assert_eq!(attached.unwrap(), slot);
        let error = detached.unwrap_err().to_string();
        assert_eq!(error, "the VMM refuses: it is in use");

        let left = tokio::spawn({
            let (requests, slot) = (Arc::clone(&requests), slot.clone());
            async move { requests.detach(slot).await }
        });
        tokio::task::yield_now().await;
        let reason = StopReason::Rebooted;
        tell(&vmm, &[Message::Event(Event::Stopped { reason })]);
        drop(vmm);
        assert!(verdict.known().await.is_some());
        assert!(left.await.unwrap().is_err());
        assert!(requests.detach(slot).await.is_err());
    }

    #[tokio::test]
    async fn the_request_comes_with_its_descriptors() {
        let (control, vmm) = Control::pair().unwrap();
        let (_console, output) = std::os::unix::net::UnixStream::pair().unwrap();
        let descriptors = vec![(Descriptor::Console, output.into())];
        control.start(&config(), descriptors).await.unwrap();
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = nix::cmsg_space!([RawFd; 2]);
        let mut buffers = [io::IoSliceMut::new(&mut bytes)];
        let received = nix::sys::socket::recvmsg::<()>(
            vmm.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .unwrap();
        assert_eq!(received.cmsgs().unwrap().count(), 1);
        let length = received.bytes;
        let request: Request = serde_json::from_slice(&bytes[..length]).unwrap();
        let Request::Start { descriptors, .. } = request else {
            panic!("{request:?}");
        };
        assert_eq!(descriptors, [Descriptor::Console]);
    }
}
