//! A message on the control socket of the VMM, with descriptors, as whoever
//! holds the other end may send it.

use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use arbitrary::Unstructured;
use monitor::control::{Control, Received};
use monitor::machine::Setup;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use vmm_api::{MAX_MESSAGE, Request};

/// Sends a message, and checks a machine that it asks for.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(count) = bytes.int_in_range(0..=70_usize) else {
        return;
    };
    let text = bytes.take_rest();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, shim) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let (mut reader, passed) = std::io::pipe().unwrap();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    send(&shim, text, &vec![passed.as_raw_fd(); count]);
    drop((shim, passed));
    let mut control = Control::new(ours).unwrap();
    if let Ok(Received::Request(request, fds)) = control.receive() {
        assert!(text.len() <= MAX_MESSAGE);
        assert_eq!(fds.len(), count);
        survives(&request);
        check(request, fds);
    }
    drop(control);
    // The end of the pipe is seen when nobody has its other end.
    let read = reader.read(&mut [0]);
    assert_eq!(read.unwrap(), 0, "descriptors were left open");
}

/// What is understood is understood again as the same.
fn survives(request: &Request) {
    let text = serde_json::to_vec(request).unwrap();
    assert_eq!(&serde_json::from_slice::<Request>(&text).unwrap(), request);
}

fn check(request: Request, fds: Vec<OwnedFd>) {
    if let Request::Start {
        machine,
        descriptors,
    } = request
        && let Ok(setup) = Setup::check(&machine, &descriptors, fds)
    {
        assert_eq!(u32::from(setup.vcpus), machine.vcpus);
        assert!(!setup.devices.is_empty());
    }
}

fn send(shim: &OwnedFd, bytes: &[u8], fds: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights };
    let iov = [IoSlice::new(bytes)];
    // A message that is too long for the socket is none.
    let _ = sendmsg::<()>(
        shim.as_raw_fd(),
        &iov,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
}
