use super::*;
use crate::virtio::chain::Access;
use crate::virtio::driver::{Driver, Line, Region, all, hostile, memory};
use crate::virtio::net::vectors::MOST;
use proptest::prelude::*;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

const SIZE: u16 = 256;
const LONGEST: usize = 4000;

/// A queue whose tap is a socket: it keeps packets apart too.
struct Machine {
    driver: Driver,
    line: Line,
    receive: Receive,
    tap: UnixDatagram,
    wire: UnixDatagram,
}

impl Machine {
    fn new(merges: bool, size: u16) -> Self {
        let memory = memory();
        let driver = Driver::new(&memory, 0, size, true);
        let line = Line::new();
        let ring = Ring::new(driver.ready(), line.interrupt());
        let (tap, wire) = UnixDatagram::pair().unwrap();
        tap.set_nonblocking(true).unwrap();
        let manner = Manner {
            merges,
            longest: LONGEST,
        };
        Self {
            driver,
            line,
            receive: Receive::new(ring, &memory, manner),
            tap,
            wire,
        }
    }

    fn serve(&mut self) -> Pass {
        self.receive.serve(self.tap.as_fd()).unwrap()
    }

    fn offer(&mut self, lengths: &[usize]) -> (u32, Vec<Region>) {
        let regions: Vec<_> = lengths.iter().map(|l| self.driver.reserve(*l)).collect();
        let head = self.driver.offer(&all(&regions, Access::Write));
        (head.into(), regions)
    }

    /// The first `bytes` of what is there.
    fn read(&self, regions: &[Region], bytes: usize) -> Vec<u8> {
        let all = regions.iter().map(|region| self.driver.read(*region));
        all.flatten().take(bytes).collect()
    }
}

/// As a tap gives it: the header's last two bytes are the device's.
fn packet(length: usize, seed: u8) -> Vec<u8> {
    let bytes = (0..=255_u8).cycle().skip(seed.into());
    let mut packet: Vec<u8> = bytes.take(length).collect();
    packet[10..12].fill(0);
    packet
}

/// As the driver has to find it.
fn in_buffers(mut packet: Vec<u8>, count: u8) -> Vec<u8> {
    packet[10..12].copy_from_slice(&[count, 0]);
    packet
}

#[test]
fn a_packet_lies_in_one_buffer_however_it_is_cut() {
    for lengths in [&[LONGEST][..], &[12, LONGEST], &[5, 6, 1, 7, LONGEST]] {
        for merges in [false, true] {
            let mut machine = Machine::new(merges, SIZE);
            let (head, regions) = machine.offer(lengths);
            machine.wire.send(&packet(1000, 3)).unwrap();
            machine.serve();
            assert_eq!(machine.driver.used(), [(head, 1000)]);
            let read = machine.read(&regions, 1000);
            assert_eq!(read, in_buffers(packet(1000, 3), 1));
            assert_eq!(machine.line.count(), 1);
        }
    }
}

#[test]
fn a_long_packet_lies_in_as_many_buffers_as_it_needs() {
    let mut machine = Machine::new(true, SIZE);
    let buffers: Vec<_> = (0..6).map(|_| machine.offer(&[1000])).collect();
    machine.wire.send(&packet(3000, 9)).unwrap();
    machine.wire.send(&packet(14, 1)).unwrap();
    assert_eq!(machine.serve(), Pass::Starved);
    let [first, second, third, fourth, ..] = [0, 1, 2, 3, 4, 5].map(|n| buffers[n].0);
    let used = machine.driver.used();
    assert_eq!(used, [(first, 1000), (second, 1000), (third, 1000)]);
    let regions: Vec<_> = buffers.iter().flat_map(|(_, r)| r.clone()).collect();
    assert_eq!(machine.read(&regions, 3000), in_buffers(packet(3000, 9), 3));

    machine.offer(&[1000]);
    assert_eq!(machine.serve(), Pass::Starved);
    assert_eq!(machine.driver.used(), [(fourth, 14)]);
}

#[test]
fn without_buffers_packets_wait_and_the_driver_s_kick_is_wanted() {
    let mut machine = Machine::new(true, SIZE);
    machine.wire.send(&packet(100, 0)).unwrap();
    assert_eq!(machine.serve(), Pass::Starved);
    // Some, but not enough for what may come.
    machine.offer(&[LONGEST - 1]);
    assert!(machine.driver.kick());
    assert_eq!(machine.serve(), Pass::Starved);
    assert_eq!(machine.driver.used(), []);
    machine.offer(&[12]);
    assert!(machine.driver.kick());
    assert_eq!(machine.serve(), Pass::Starved);
    assert_eq!(machine.driver.used(), [(0, 100)]);
}

#[test]
fn a_queue_that_can_hold_no_more_is_used_as_it_is() {
    let mut machine = Machine::new(true, 4);
    for _ in 0..4 {
        machine.offer(&[500]);
    }
    for length in [2000, 2001] {
        machine.wire.send(&packet(length, 0)).unwrap();
    }
    assert_eq!(machine.serve(), Pass::Starved);
    assert_eq!(machine.driver.used().len(), 4);
    for _ in 0..4 {
        machine.offer(&[500]);
    }
    assert_eq!(machine.serve(), Pass::Drained);
    assert_eq!(machine.driver.used(), [], "a packet without room is lost");
}

#[test]
fn a_packet_longer_than_its_only_buffer_is_lost_and_the_buffer_is_not() {
    let mut machine = Machine::new(false, SIZE);
    let (head, regions) = machine.offer(&[100]);
    machine.offer(&[LONGEST]);
    machine.wire.send(&packet(101, 0)).unwrap();
    assert_eq!(machine.serve(), Pass::Drained);
    assert_eq!(machine.driver.used(), []);
    machine.wire.send(&packet(100, 0)).unwrap();
    machine.serve();
    assert_eq!(machine.driver.used(), [(head, 100)]);
    assert_eq!(machine.read(&regions, 100), in_buffers(packet(100, 0), 1));
}

#[test]
fn what_is_no_buffer_goes_back_and_the_next_is_used() {
    let mut machine = Machine::new(true, SIZE);
    let good = machine.driver.reserve(LONGEST);
    let driver = &mut machine.driver;
    driver.offer(&all(&[good], Access::Read));
    driver.offer(&all(&[(good.0, 100), (64 << 20, 100)], Access::Write));
    driver.offer(&all(&[(0xd000_0000, 512)], Access::Write));
    driver.offer(&all(&[(good.0, 11)], Access::Write));
    driver.offer_table((good.0, 20));
    let head = driver.offer(&all(&[good], Access::Write));
    machine.wire.send(&packet(60, 0)).unwrap();
    machine.serve();
    let mut used = machine.driver.used();
    assert_eq!(used.pop(), Some((head.into(), 60)));
    assert_eq!(used, [0, 1, 3, 4, 5].map(|head| (head, 0)));
}

#[test]
fn a_loop_is_no_buffer() {
    let mut machine = Machine::new(true, SIZE);
    let region = machine.driver.reserve(15);
    machine.driver.offer_loop(region, Access::Write);
    machine.wire.send(&packet(60, 0)).unwrap();
    machine.serve();
    // 256 pieces of it are as much as any buffer may have: it has no end.
    assert_eq!(machine.driver.used(), [(0, 0)]);
}

#[test]
fn huge_buffers_count_as_far_as_a_packet_reaches() {
    let mut machine = Machine::new(true, SIZE);
    let regions = all(&[(0, 64 << 20), (0, 64 << 20)], Access::Write);
    machine.driver.offer_indirect(&regions);
    assert_eq!(machine.serve(), Pass::Drained);
    assert_eq!(machine.receive.buffers.vectors.bytes(), LONGEST);
    assert_eq!(machine.receive.buffers.vectors.len(), 1);
}

#[test]
fn buffers_in_crumbs_do_not_pile_up() {
    let mut machine = Machine::new(true, SIZE);
    let crumb = machine.driver.reserve(1);
    for _ in 0..SIZE {
        machine
            .driver
            .offer_indirect(&all(&[crumb; 100], Access::Write));
    }
    assert_eq!(machine.serve(), Pass::Drained);
    assert!(machine.receive.buffers.vectors.len() <= MOST);
    machine.wire.send(&packet(200, 0)).unwrap();
    assert_eq!(machine.serve(), Pass::Drained);
    assert_eq!(machine.driver.used(), [(0, 100), (1, 100)]);
}

#[test]
fn what_cannot_be_read_is_told() {
    let mut machine = Machine::new(true, SIZE);
    machine.offer(&[LONGEST]);
    let file = std::fs::File::open("/").unwrap();
    let pass = machine.receive.serve(file.as_fd()).unwrap();
    assert_eq!(pass, Pass::Failed(Errno::EISDIR));
    machine.wire.send(&packet(60, 0)).unwrap();
    assert_eq!(machine.serve(), Pass::Starved);
    assert_eq!(machine.driver.used(), [(0, 60)], "the buffers are as good");
}

#[test]
fn a_flood_is_received_in_turns() {
    let mut machine = Machine::new(true, SIZE);
    let region = machine.driver.reserve(LONGEST);
    // Fewer than the guest has buffers for.
    for _ in 0..BUDGET + 2 {
        machine.driver.offer(&all(&[region], Access::Write));
    }
    let mut received = 0;
    for _ in 0..BUDGET + 2 {
        machine.wire.send(&packet(60, 0)).unwrap();
        machine.wire.set_nonblocking(true).unwrap();
        while machine.wire.send(&packet(60, 0)).is_ok() {}
        machine.serve();
        received += machine.driver.used().len();
        if received == usize::from(BUDGET) + 2 {
            return;
        }
    }
    panic!("only {received} packets came");
}

proptest! {
    /// Packets come out as they went in, whole and in order, into whatever
    /// buffers there are.
    #[test]
    fn packets_are_what_they_were(
        merges in any::<bool>(),
        buffers in proptest::collection::vec(
            proptest::collection::vec(1_usize..3000, 1..5), 1..60),
        packets in proptest::collection::vec(14_usize..LONGEST, 1..10),
    ) {
        let mut machine = Machine::new(merges, SIZE);
        let mut regions = std::collections::HashMap::new();
        for lengths in &buffers {
            let (head, there) = machine.offer(lengths);
            regions.insert(head, there);
        }
        for (seed, length) in (0..).zip(&packets) {
            machine.wire.send(&packet(*length, seed)).unwrap();
        }
        machine.serve();
        let used = machine.driver.used();
        let mut used = used.into_iter().filter(|(_, length)| *length > 0);
        let mut sent = (0..).zip(&packets);
        while let Some((head, length)) = used.next() {
            let mut bytes = machine.read(&regions[&head], length as usize);
            let count = bytes[10];
            for _ in 1..count {
                let (head, length) = used.next().unwrap();
                bytes.extend(machine.read(&regions[&head], length as usize));
            }
            // Those before it had no room, which is only so if they do not
            // merge.
            let found = sent.find(|(seed, length)| {
                in_buffers(packet(**length, *seed), count) == bytes
            });
            prop_assert!(found.is_some());
            prop_assert!(merges || count == 1);
        }
    }

    /// Whatever is in the rings: no chain goes back twice, none but those that
    /// wait for a packet is kept, and what is kept has a limit.
    #[test]
    fn nothing_that_a_driver_writes_stops_the_queue(
        merges in any::<bool>(),
        (table, heads) in hostile(16),
        packets in proptest::collection::vec(14_usize..LONGEST, 0..4),
    ) {
        // Where the rings are, packets would change what is available.
        let table: Vec<_> = table
            .into_iter()
            .map(|(address, length, flags, next)| (address | 1 << 20, length, flags, next))
            .collect();
        let mut machine = Machine::new(merges, 16);
        machine.driver.offer_raw(&table, &heads);
        for length in &packets {
            machine.wire.send(&packet(*length, 0)).unwrap();
        }
        let pass = machine.serve();
        prop_assert!(pass == Pass::Drained || pass == Pass::Starved);
        let kept = std::iter::from_fn(|| machine.receive.buffers.pop()).count();
        let used = machine.driver.used();
        prop_assert!(used.len() + kept <= heads.len());
        prop_assert!(pass == Pass::Drained || used.len() + kept == heads.len());
        prop_assert_eq!(machine.receive.buffers.vectors.len(), 0);
        for (head, length) in used {
            prop_assert!(heads.contains(&u16::try_from(head).unwrap()));
            prop_assert!(length as usize <= LONGEST);
        }
    }
}
