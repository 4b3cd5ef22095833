use super::chain::Access;
use super::driver::{Driver, MEMORY, SIZE};
use super::{Pass, receive, transmit};
use crate::device::Device;
use crate::state::packet::{HEADER_LEN, HOST_CID, Header, Op, TYPE_STREAM};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use proptest::prelude::*;
use std::os::fd::OwnedFd;
use std::thread;
use vhost_user_backend::VringT;
use vm_memory::GuestAddressSpace;

/// A device with a driver for each queue.
struct Machine {
    device: Device,
    tx: Driver,
    rx: Driver,
    _shim: OwnedFd,
}

impl Machine {
    fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, shim) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        Self {
            device: Device::new(3, vec![1024], ours).unwrap(),
            tx: Driver::new(),
            rx: Driver::new(),
            _shim: shim,
        }
    }

    fn transmit(&mut self) -> Result<Pass, virtio_queue::Error> {
        let memory = self.tx.memory.memory();
        transmit::serve(&mut self.tx.vring.get_mut(), &memory, &mut self.device)
    }

    fn receive(&mut self) -> Result<Pass, virtio_queue::Error> {
        let memory = self.rx.memory.memory();
        receive::serve(&mut self.rx.vring.get_mut(), &memory, &mut self.device)
    }

    /// Offers a packet in one part.
    fn send(&mut self, header: &Header, payload: &[u8]) -> u16 {
        let mut packet = header.encode().to_vec();
        packet.extend(payload);
        let part = self.tx.place(&packet);
        self.tx.offer(&[part], Access::Read)
    }

    /// Opens a connection from `port`.
    fn connect(&mut self, port: u32) {
        self.send(&packet(port, Op::Request, 0), &[]);
        assert_eq!(self.transmit().unwrap(), Pass::Idle);
        assert_eq!(self.device.connections().len(), 1);
    }
}

fn packet(port: u32, op: Op, len: u32) -> Header {
    Header {
        src_cid: 3,
        dst_cid: HOST_CID,
        src_port: port,
        dst_port: 1024,
        len,
        kind: TYPE_STREAM,
        op: op.wire(),
        buf_alloc: 1 << 18,
        ..Header::default()
    }
}

fn header(bytes: &[u8]) -> Header {
    Header::decode(bytes[..HEADER_LEN].try_into().unwrap())
}

#[test]
fn a_packet_may_be_cut_anywhere_also_within_its_header() {
    for indirect in [false, true] {
        let mut machine = Machine::new();
        let bytes = packet(7, Op::Request, 0).encode();
        let (parts, next) = bytes.split_at(3);
        let (middle, end) = next.split_at(30);
        let parts: Vec<_> = [parts, &[], middle, end]
            .map(|part| machine.tx.place(part))
            .to_vec();
        let head = if indirect {
            machine.tx.offer_indirect(&parts, Access::Read)
        } else {
            machine.tx.offer(&parts, Access::Read)
        };
        assert_eq!(machine.transmit().unwrap(), Pass::Idle);
        assert_eq!(machine.tx.used(), [(head.into(), 0)]);
        assert_eq!(machine.device.connections().len(), 1);
        assert!(machine.tx.is_notified());
    }
}

#[test]
fn a_packet_for_the_guest_may_be_cut_anywhere() {
    let mut machine = Machine::new();
    machine.connect(7);
    let parts = [5, 40, 100].map(|len| machine.rx.reserve(len));
    let head = machine.rx.offer(&parts, Access::Write);
    assert_eq!(machine.receive().unwrap(), Pass::Idle);
    assert_eq!(machine.rx.used(), [(head.into(), 44)]);
    let bytes: Vec<u8> = parts
        .into_iter()
        .flat_map(|part| machine.rx.read(part))
        .collect();
    let response = header(&bytes);
    assert_eq!((response.op, response.dst_port), (Op::Response.wire(), 7));
}

#[test]
fn notifications_are_asked_for_only_when_buffers_are_missing() {
    let mut machine = Machine::new();
    for _ in 0..2 {
        let part = machine.rx.reserve(100);
        machine.rx.offer(&[part], Access::Write);
    }
    machine.connect(7);
    machine.receive().unwrap();
    assert!(
        !machine.rx.is_notified(),
        "nothing to send, one buffer left"
    );
    for port in 8..10 {
        machine.send(&packet(port, Op::CreditRequest, 0), &[]);
    }
    machine.transmit().unwrap();
    machine.receive().unwrap();
    assert!(machine.rx.is_notified(), "one reply waits");
    let part = machine.rx.reserve(100);
    machine.rx.offer(&[part], Access::Write);
    machine.receive().unwrap();
    let resets = machine.rx.used().len();
    assert_eq!(resets, 3);
}

#[test]
fn unusable_buffers_come_back_empty_and_do_no_harm() {
    let end = u64::try_from(MEMORY).unwrap();
    let hostile: [(u64, u32); 5] = [
        (end, 100),
        (end - 50, 100),
        (u64::MAX - 10, 100),
        (0x1_0000, 43),
        (0x1_0000, 0),
    ];
    for part in hostile {
        let mut machine = Machine::new();
        let head = machine.tx.offer(&[part], Access::Read);
        assert_eq!(machine.transmit().unwrap(), Pass::Idle);
        assert_eq!(machine.tx.used(), [(head.into(), 0)]);

        machine.connect(7);
        let bad = machine.rx.offer(&[part], Access::Write);
        let room = machine.rx.reserve(100);
        let good = machine.rx.offer(&[room], Access::Write);
        assert_eq!(machine.receive().unwrap(), Pass::Idle);
        assert_eq!(machine.rx.used(), [(bad.into(), 0), (good.into(), 44)]);
    }
}

#[test]
fn a_buffer_of_the_wrong_direction_is_empty() {
    let mut machine = Machine::new();
    let bytes = packet(7, Op::Request, 0).encode();
    let part = machine.tx.place(&bytes);
    machine.tx.offer(&[part], Access::Write);
    machine.transmit().unwrap();
    assert_eq!(machine.tx.used().len(), 1);
    assert!(machine.device.connections().is_empty());
}

#[test]
fn a_packet_shorter_than_its_header_says_is_not_read_beyond_its_end() {
    let mut machine = Machine::new();
    machine.connect(7);
    machine.send(&packet(7, Op::Data, 1000), &[1; 999]);
    machine.transmit().unwrap();
    assert!(machine.device.connections().is_empty());
}

#[test]
fn a_chain_that_loops_ends() {
    let mut machine = Machine::new();
    machine.connect(7);
    let head = machine.tx.offer(&[(0x1_0000, 0); 15], Access::Read);
    // The last one continues with the first.
    let (address, len) = machine.tx.place(&packet(7, Op::Data, 1 << 20).encode());
    for _ in 0..SIZE {
        machine.tx.describe(address, len, 1);
    }
    machine.tx.announce(head);
    machine.transmit().unwrap();
    assert!(machine.tx.used().len() >= 2);
}

#[test]
fn an_indirect_table_longer_than_a_queue_is_not_walked_to_its_end() {
    let mut machine = Machine::new();
    let octet = machine.tx.place(&[0]);
    let head = machine.tx.offer_indirect(&vec![octet; 5000], Access::Read);
    machine.transmit().unwrap();
    assert_eq!(machine.tx.used(), [(head.into(), 0)]);
}

#[test]
fn an_index_out_of_range_is_an_error_and_not_a_loop() {
    for index in [SIZE + 1, 1000, u16::MAX] {
        let mut machine = Machine::new();
        machine.tx.set_available(index);
        assert!(machine.transmit().is_err());
        assert_eq!(machine.tx.used(), []);
    }
}

#[test]
fn a_head_out_of_range_does_not_come_back() {
    let mut machine = Machine::new();
    machine.tx.announce(SIZE);
    assert!(machine.transmit().is_err());
}

#[test]
fn a_queue_that_is_not_ours_is_not_touched() {
    let mut machine = Machine::new();
    machine.send(&packet(7, Op::Request, 0), &[]);
    machine.tx.vring.set_queue_ready(false);
    assert_eq!(machine.transmit().unwrap(), Pass::Idle);
    machine.tx.vring.set_queue_ready(true);
    machine.tx.vring.set_enabled(false);
    assert_eq!(machine.transmit().unwrap(), Pass::Idle);
    assert_eq!(machine.tx.used(), []);
    machine.tx.vring.set_enabled(true);
    assert_eq!(machine.transmit().unwrap(), Pass::Idle);
    assert_eq!(machine.tx.used().len(), 1);
}

#[test]
fn a_guest_that_takes_no_replies_is_not_read_until_it_does() {
    let mut machine = Machine::new();
    let mut sent = 0;
    while machine.device.takes_packets() {
        machine.send(&packet(7, Op::CreditRequest, 0), &[]);
        machine.transmit().unwrap();
        sent += 1;
        assert!(sent <= 1000, "no end to replies");
    }
    machine.send(&packet(7, Op::CreditRequest, 0), &[]);
    machine.transmit().unwrap();
    assert!(!machine.tx.is_notified(), "no need to tell us of more");
    let part = machine.rx.reserve(100);
    machine.rx.offer(&[part], Access::Write);
    machine.receive().unwrap();
    assert!(machine.device.takes_packets());
    machine.transmit().unwrap();
    assert!(
        !machine.device.takes_packets(),
        "the one that waited was read"
    );
}

/// A packet that comes in while a pass looks at the queue is either taken by
/// it or announced by a notification, whichever way these are suppressed.
#[test]
fn no_packet_is_overlooked() {
    for event_idx in [false, true] {
        let mut machine = Machine::new();
        machine.tx.vring.set_queue_event_idx(event_idx);
        let packet = machine.tx.place(&packet(7, Op::Reset, 0).encode());
        for round in 1..=10_000 {
            let (tx, device) = (&mut machine.tx, &mut machine.device);
            let (vring, memory) = (tx.vring.clone(), tx.memory.memory());
            let notified = thread::scope(|scope| {
                scope.spawn(|| transmit::serve(&mut vring.get_mut(), &memory, device).unwrap());
                tx.offer(&[packet], Access::Read);
                tx.must_notify(event_idx)
            });
            let taken = machine.tx.used_index() == round;
            assert!(taken || notified, "overlooked in round {round}");
            machine.transmit().unwrap();
        }
    }
}

proptest! {
    /// Queues full of noise: whatever it means, it comes to an end.
    #[test]
    fn noise_is_survived(
        noise in proptest::collection::vec(any::<u8>(), 0x2400),
        available in 0u16..=SIZE,
    ) {
        let mut machine = Machine::new();
        for driver in [&mut machine.tx, &mut machine.rx] {
            driver.write(0x1000, &noise);
            driver.set_available(available);
        }
        machine.connect_noisily();
        for _ in 0..3 {
            let _ = machine.transmit();
            let _ = machine.receive();
        }
    }

    /// Noise whose descriptors are likely to be usable.
    #[test]
    fn likely_noise_is_survived(
        descriptors in proptest::collection::vec(
            (0u64..0x2_0000, prop_oneof![0u32..200, any::<u32>()], 0u16..8),
            usize::from(SIZE),
        ),
        contents in proptest::collection::vec(any::<u8>(), 0x1000),
        heads in proptest::collection::vec(0u16..SIZE, 1..16),
    ) {
        let mut machine = Machine::new();
        for driver in [&mut machine.tx, &mut machine.rx] {
            driver.write(0x1_0000, &contents);
            for (address, len, flags) in &descriptors {
                driver.describe(*address, *len, *flags);
            }
            for head in &heads {
                driver.announce(*head);
            }
        }
        machine.connect_noisily();
        for _ in 0..3 {
            let _ = machine.transmit();
            let _ = machine.receive();
        }
    }
}

impl Machine {
    /// A connection that did not come by the queue.
    fn connect_noisily(&mut self) {
        let mut bytes = packet(7, Op::Request, 0).encode();
        let slices = vec![bytes.as_mut_slice().into()];
        self.device.transmit(&super::chain::Buffer::from(slices));
    }
}
