//! How a helper gets its order: as one message in a socket, and with the
//! message the descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::Task;
use super::report::{Report, Reporter};

/// Bytes of a task as JSON: ids and a few paths.
const LONGEST: usize = 16 << 10;
/// Report pipe, three standard streams, and what a task needs beside them.
const DESCRIPTORS: usize = 5;

/// What a task comes with.
pub(crate) struct Descriptors<F> {
    /// The report pipe's writing end.
    pub(crate) report: F,
    /// Standard streams of the process that is to be started.
    pub(crate) streams: [F; 3],
    /// For an exec, a pidfd of the container's first process.
    pub(crate) init: Option<F>,
}

/// Gives `task` to the nursery at the other end of `socket`.
///
/// # Errors
///
/// It is not there any more, or the order is too long.
pub(crate) fn give(
    socket: BorrowedFd<'_>,
    task: &Task,
    descriptors: &Descriptors<BorrowedFd<'_>>,
) -> io::Result<()> {
    let task = serde_json::to_vec(task)?;
    if task.len() > LONGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut all = vec![descriptors.report];
    all.extend(descriptors.streams);
    all.extend(descriptors.init);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&all)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        socket,
        &[IoSlice::new(&task)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// An order that has arrived, not read yet.
pub(super) struct Message {
    task: Vec<u8>,
    descriptors: Descriptors<OwnedFd>,
}

/// An order, in the helper that is to carry it out.
pub(super) struct Order {
    pub(super) task: Task,
    pub(super) reporter: Reporter,
    pub(super) init: Option<BorrowedFd<'static>>,
}

impl Message {
    /// Makes its streams this process's. `None` when the agent sent nonsense.
    pub(super) fn take(self) -> Option<Order> {
        let descriptors = self.descriptors;
        let [stdin, stdout, stderr] = &descriptors.streams;
        rustix::stdio::dup2_stdin(stdin).ok()?;
        rustix::stdio::dup2_stdout(stdout).ok()?;
        rustix::stdio::dup2_stderr(stderr).ok()?;
        Some(Order {
            task: serde_json::from_slice(&self.task).ok()?,
            reporter: Reporter::new(kept(descriptors.report)),
            init: descriptors.init.map(kept),
        })
    }

    /// Whoever waits for the helper hears `report` instead of it.
    pub(super) fn refuse(self, report: &Report) {
        Reporter::new(kept(self.descriptors.report)).send(report);
    }
}

/// Waits for the next order. `None` when the agent has gone, or a message was
/// none of its.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Option<Message> {
    read(socket).ok().flatten()
}

fn read(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut task = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(&mut task)];
        match recvmsg(socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Ok(None);
    }
    task.truncate(received.bytes);
    let mut all = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let (Some(report), Some(stdin), Some(stdout), Some(stderr)) =
        (all.next(), all.next(), all.next(), all.next())
    else {
        return Ok(None);
    };
    let init = all.next();
    let descriptors = Descriptors {
        report,
        streams: [stdin, stdout, stderr],
        init,
    };
    Ok(Some(Message { task, descriptors }))
}

/// A helper is short-lived: what it was given stays open until it ends.
fn kept(fd: OwnedFd) -> BorrowedFd<'static> {
    let kept: &'static OwnedFd = Box::leak(Box::new(fd));
    kept.as_fd()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::helper::Pause;

    fn pause() -> Task {
        Task::Pause(Pause {
            in_user_namespace: false,
        })
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_task_arrives_with_its_descriptors_in_their_order() {
        let (ours, theirs) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let streams = [null.as_fd(), null.as_fd(), write.as_fd()];
        let report = null.as_fd();
        let descriptors = Descriptors {
            report,
            streams,
            init: None,
        };
        give(ours.as_fd(), &pause(), &descriptors).unwrap();
        drop(write);

        let message = receive(theirs.as_fd()).unwrap();
        let task = serde_json::from_slice(&message.task).unwrap();
        assert!(matches!(task, Task::Pause(_)));
        assert!(message.descriptors.init.is_none());
        let [_, _, stderr] = message.descriptors.streams;
        std::fs::File::from(stderr).write_all(b"err").unwrap();
        assert_eq!(
            io::read_to_string(std::fs::File::from(read)).unwrap(),
            "err"
        );
    }

    #[test]
    fn an_agent_that_is_gone_is_no_order() {
        let (ours, theirs) = pair();
        drop(ours);
        assert!(receive(theirs.as_fd()).is_none());
    }

    #[test]
    fn a_nursery_that_is_gone_is_an_error() {
        let (ours, theirs) = pair();
        drop(theirs);
        let null = std::fs::File::open("/dev/null").unwrap();
        let descriptors = Descriptors {
            report: null.as_fd(),
            streams: [null.as_fd(); 3],
            init: None,
        };
        assert!(give(ours.as_fd(), &pause(), &descriptors).is_err());
    }
}
