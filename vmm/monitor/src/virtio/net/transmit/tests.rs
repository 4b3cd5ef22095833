use super::*;
use crate::virtio::driver::{Driver, Line, Region, all, hostile, memory};
use proptest::prelude::*;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

const SIZE: u16 = 256;

/// A queue whose tap is a socket: it keeps packets apart too.
struct Machine {
    driver: Driver,
    line: Line,
    transmit: Transmit,
    tap: UnixDatagram,
    wire: UnixDatagram,
}

impl Machine {
    fn new() -> Self {
        let memory = memory();
        let driver = Driver::new(&memory, 0, SIZE, true);
        let line = Line::new();
        let ring = Ring::new(driver.ready(), line.interrupt());
        let (tap, wire) = UnixDatagram::pair().unwrap();
        wire.set_nonblocking(true).unwrap();
        tap.set_nonblocking(true).unwrap();
        Self {
            driver,
            line,
            transmit: Transmit::new(ring, &memory),
            tap,
            wire,
        }
    }

    fn serve(&mut self) {
        self.transmit.serve(self.tap.as_fd()).unwrap();
    }

    fn sent(&self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1 << 17];
        let length = self.wire.recv(&mut packet).ok()?;
        packet.truncate(length);
        Some(packet)
    }

    fn place(&mut self, packet: &[u8], cuts: &[usize]) -> Vec<Region> {
        let (mut rest, mut regions) = (packet, Vec::new());
        for cut in cuts {
            let (part, behind) = rest.split_at(*cut);
            regions.push(self.driver.place(part));
            rest = behind;
        }
        regions.push(self.driver.place(rest));
        regions
    }
}

fn packet(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[test]
fn a_packet_may_be_cut_anywhere() {
    let mut machine = Machine::new();
    for cuts in [vec![], vec![12], vec![1, 10, 2, 0, 5], vec![26; 50]] {
        for indirect in [false, true] {
            let packet = packet(1526);
            let regions = all(&machine.place(&packet, &cuts), Access::Read);
            match indirect {
                true => machine.driver.offer_indirect(&regions),
                false => machine.driver.offer(&regions),
            };
            machine.serve();
            assert_eq!(machine.sent(), Some(packet));
            assert_eq!(machine.driver.used().len(), 1);
        }
    }
}

#[test]
fn packets_of_every_possible_length_are_sent_and_no_others() {
    for (length, possible) in [
        (0, false),
        (12, false),
        (25, false),
        (26, true),
        (MOST_SENT, true),
        (MOST_SENT + 1, false),
        (2 << 20, false),
    ] {
        let mut machine = Machine::new();
        let region = machine.driver.place(&packet(length));
        machine.driver.offer(&all(&[region], Access::Read));
        machine.serve();
        let sent = machine.sent().map(|packet| packet.len());
        assert_eq!(sent, possible.then_some(length));
        assert_eq!(machine.driver.used(), [(0, 0)]);
    }
}

#[test]
fn what_is_no_packet_goes_back_and_the_next_is_sent() {
    let good = packet(100);
    let mut machine = Machine::new();
    let region = machine.driver.place(&good);
    let driver = &mut machine.driver;
    driver.offer(&all(&[region, region], Access::Write));
    driver.offer(&all(&[region, (64 << 20, 100)], Access::Read));
    driver.offer(&all(&[region, (0x1000, u32::MAX as usize)], Access::Read));
    driver.offer(&all(&[(0xd000_0000, 100)], Access::Read));
    driver.offer_table((region.0, 100));
    driver.offer(&all(&[region], Access::Read));
    machine.serve();
    assert_eq!(machine.sent(), Some(good));
    assert_eq!(machine.sent(), None);
    assert_eq!(machine.driver.used().len(), 6);
}

#[test]
fn a_loop_is_no_packet() {
    let mut machine = Machine::new();
    let region = machine.driver.place(&packet(100));
    machine.driver.offer_loop(region, Access::Read);
    machine.serve();
    assert_eq!(machine.sent(), None);
    assert_eq!(machine.driver.used(), [(0, 0)]);
}

#[test]
fn a_full_ring_is_sent_and_the_driver_told_once() {
    let mut machine = Machine::new();
    let region = machine.driver.place(&packet(60));
    let (mut sent, mut passes) = (0, 0);
    for _ in 0..SIZE {
        machine.driver.offer(&all(&[region], Access::Read));
    }
    assert!(!machine.driver.kick());
    while machine.driver.used_index() < SIZE {
        machine.serve();
        passes += 1;
        while machine.sent().is_some() {
            sent += 1;
        }
    }
    assert_eq!(passes, 4);
    // The wire of a socket holds fewer than a pass sends: what has no room is
    // lost, and the driver gets its buffers all the same.
    assert!((10..=SIZE).contains(&sent));
    assert_eq!(machine.line.count(), 1);
    assert_eq!(machine.driver.used().len(), usize::from(SIZE));
}

#[test]
fn an_impossible_ring_is_an_error() {
    let mut machine = Machine::new();
    machine.driver.set_available(SIZE + 1);
    assert!(machine.transmit.serve(machine.tap.as_fd()).is_err());
}

proptest! {
    /// Whatever is in the rings: each chain goes back once, in order, and what
    /// was sent was a possible packet.
    #[test]
    fn nothing_that_a_driver_writes_stops_the_queue((table, heads) in hostile(16)) {
        let mut machine = Machine::new();
        machine.driver.offer_raw(&table, &heads);
        machine.serve();
        let used: Vec<_> = heads.iter().map(|head| (u32::from(*head), 0)).collect();
        prop_assert_eq!(machine.driver.used(), used);
        while let Some(packet) = machine.sent() {
            prop_assert!((26..=MOST_SENT).contains(&packet.len()));
        }
    }
}
