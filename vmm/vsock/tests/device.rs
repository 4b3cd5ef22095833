//! The device when those around it go away.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]
// The kernel gives descriptors as numbers.
#![allow(unsafe_code)]

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};
use vsock_device::device::{Device, Shim};
use vsock_device::ring::chain::Buffer;
use vsock_device::state::packet::{HEADER_LEN, Header, Op, TYPE_STREAM};

/// More than a socket takes, and less than a guest is granted.
const MUCH: u32 = 250_000;

fn device() -> (Device, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, shim) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    (Device::new(3, vec![1025], ours).unwrap(), shim)
}

fn transmit(device: &mut Device, op: Op, len: u32) {
    let header = Header {
        src_cid: 3,
        dst_cid: 2,
        src_port: 7,
        dst_port: 1025,
        len,
        kind: TYPE_STREAM,
        op: op.wire(),
        buf_alloc: 1 << 18,
        ..Header::default()
    };
    let mut packet = header.encode().to_vec();
    packet.resize(HEADER_LEN + len as usize, 1);
    device.transmit(&Buffer::from(vec![packet.as_mut_slice().into()]));
}

/// What the device sends next.
fn receive(device: &mut Device) -> Option<Op> {
    let mut memory = [0; 100];
    device.receive(&Buffer::from(vec![memory.as_mut_slice().into()]))?;
    Op::from_wire(Header::decode(memory[..HEADER_LEN].try_into().unwrap()).op)
}

fn accept(shim: &OwnedFd) -> UnixStream {
    let mut message = [0; 8];
    let mut iov = [IoSliceMut::new(&mut message)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(shim.as_raw_fd(), &mut iov, Some(&mut space), flags).unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = received.cmsgs().unwrap().next() else {
        panic!("no descriptor");
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let stream = unsafe { UnixStream::from_raw_fd(fds[0]) };
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn when_the_machine_is_gone_the_host_still_gets_what_it_sent() {
    let (mut device, shim) = device();
    transmit(&mut device, Op::Request, 0);
    transmit(&mut device, Op::Data, MUCH);
    assert!(device.connections().held() > 0, "a socket takes all of it?");
    let mut stream = accept(&shim);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        thread::sleep(Duration::from_millis(50));
        stream.read_to_end(&mut got).unwrap();
        got.len()
    });
    device.finish(Duration::from_secs(20));
    assert_eq!(device.connections().held(), 0);
    drop(device);
    assert_eq!(reader.join().unwrap(), MUCH as usize);
}

#[test]
fn a_host_that_does_not_read_delays_the_end_only_so_long() {
    let (mut device, shim) = device();
    transmit(&mut device, Op::Request, 0);
    transmit(&mut device, Op::Data, MUCH);
    let _stream = accept(&shim);
    let start = Instant::now();
    device.finish(Duration::from_millis(100));
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// As when a guest powers off: Linux resets its devices.
#[test]
fn after_a_reset_the_host_still_gets_what_the_guest_sent() {
    let (mut device, shim) = device();
    transmit(&mut device, Op::Request, 0);
    transmit(&mut device, Op::Data, MUCH);
    device.reset();
    assert_eq!(receive(&mut device), None);
    let mut stream = accept(&shim);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got.len()
    });
    // The same ports, and another connection.
    transmit(&mut device, Op::Request, 0);
    assert_eq!(receive(&mut device), Some(Op::Response));
    device.finish(Duration::from_secs(20));
    assert_eq!(device.connections().len(), 1);
    assert_eq!(reader.join().unwrap(), MUCH as usize);
}

#[test]
fn without_anything_held_the_end_comes_at_once() {
    let (mut device, _shim) = device();
    transmit(&mut device, Op::Request, 0);
    let start = Instant::now();
    device.finish(Duration::from_secs(60));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_shim_that_closes_its_socket_is_gone_and_requests_are_reset() {
    let (mut device, shim) = device();
    assert_eq!(device.serve_host(), Shim::Present);
    drop(shim);
    assert_eq!(device.serve_host(), Shim::Gone);
    transmit(&mut device, Op::Request, 0);
    assert_eq!(receive(&mut device), Some(Op::Reset));
    assert_eq!(receive(&mut device), None);
    assert!(device.connections().is_empty());
}

#[test]
fn a_host_that_closes_unread_is_a_closed_host() {
    let (mut device, shim) = device();
    transmit(&mut device, Op::Request, 0);
    assert_eq!(receive(&mut device), Some(Op::Response));
    transmit(&mut device, Op::Data, MUCH);
    drop(accept(&shim));
    device.serve_host();
    assert_eq!(receive(&mut device), Some(Op::Shutdown));
    transmit(&mut device, Op::Reset, 0);
    assert!(device.connections().is_empty());
}
