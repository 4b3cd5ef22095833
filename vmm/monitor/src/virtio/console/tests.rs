use super::*;
use crate::events::{Events, Token};
use crate::virtio::Slot;
use crate::virtio::driver::{Driver, Line, Region, all, hostile, memory};
use proptest::prelude::*;
use std::io::Read;
use std::os::unix::net::UnixStream;

struct Guest {
    console: Console,
    lost: ports::Lost,
    transmit: Driver,
    events: Events,
    reader: UnixStream,
}

impl Guest {
    fn new() -> Self {
        let (reader, output) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let memory = memory();
        let lost = ports::Lost::default();
        let output = ports::Console::new(Some(output.into()), lost.clone()).unwrap();
        let mut guest = Self {
            console: Console::new(output),
            lost,
            transmit: Driver::new(&memory, 1, QUEUE_SIZE, true),
            events: Events::new().unwrap(),
            reader,
        };
        guest.start();
        guest
    }

    fn start(&mut self) {
        let receive = Driver::new(&self.transmit.memory, 0, QUEUE_SIZE, true);
        let features = self.console.features().unwrap();
        self.console
            .start(Start {
                features,
                queues: vec![Some(receive.ready()), Some(self.transmit.ready())],
                memory: self.transmit.memory.clone(),
                interrupt: Line::new().interrupt(),
                sources: self.events.sources(Slot::new(7).unwrap()),
            })
            .unwrap();
    }

    fn offer(&mut self, text: &[u8], cut: usize) {
        let regions: Vec<Region> = text.chunks(cut).map(|t| self.transmit.place(t)).collect();
        self.transmit.offer(&all(&regions, Access::Read));
    }

    fn serve(&mut self) {
        assert_eq!(self.console.serve(0).unwrap(), Served::Quiet);
    }

    fn read(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        // Ends with an error: there is nothing more for now.
        let _ = self.reader.read_to_end(&mut text);
        text
    }
}

#[test]
fn lines_and_prompts_are_seen_at_once() {
    let mut guest = Guest::new();
    for (text, cut) in [(&b"one\ntwo\n"[..], 100), (b"three\n", 1), (b"login: ", 3)] {
        guest.offer(text, cut);
        assert!(guest.transmit.kick());
        let ready = guest.events.wait().unwrap();
        let slot = Slot::new(7).unwrap();
        assert_eq!(ready, [Token::Device { slot, source: 0 }]);
        guest.serve();
        assert_eq!(guest.read(), text);
        assert_eq!(guest.transmit.used().len(), 1);
    }
}

#[test]
fn a_guest_does_not_wait_for_whoever_reads() {
    let mut guest = Guest::new();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    let region = guest.transmit.place(&line);
    for _ in 0..20 {
        for _ in 0..QUEUE_SIZE {
            guest.transmit.offer(&all(&[region], Access::Read));
        }
        guest.serve();
        assert_eq!(guest.transmit.used().len(), usize::from(QUEUE_SIZE));
    }
    let sent = 20 * u64::from(QUEUE_SIZE) * 1024;
    let lost = guest.lost.bytes();
    assert!(lost > 0);
    assert_eq!(guest.read().len() as u64 + lost, sent);
}

#[test]
fn what_is_no_output_goes_back_and_the_next_is_seen() {
    let mut guest = Guest::new();
    let region = guest.transmit.place(b"seen\n");
    let driver = &mut guest.transmit;
    driver.offer(&all(&[region], Access::Write));
    driver.offer(&all(&[(64 << 20, 4)], Access::Read));
    driver.offer(&all(&[(0xd000_0000, 4)], Access::Read));
    driver.offer(&all(&[(0, MOST_BYTES + 1)], Access::Read));
    driver.offer_indirect(&all(&[(0, 64 << 20); 60], Access::Read));
    driver.offer_table((region.0, 24));
    driver.offer(&all(&[(0, 0)], Access::Read));
    driver.offer(&all(&[region], Access::Read));
    guest.serve();
    assert_eq!(guest.read(), b"seen\n");
    assert_eq!(guest.transmit.used().len(), 8);
}

#[test]
fn a_loop_ends() {
    let mut guest = Guest::new();
    let region = guest.transmit.place(b"x");
    guest.transmit.offer_loop(region, Access::Read);
    guest.serve();
    assert_eq!(guest.read().len(), MOST_PIECES);
    assert_eq!(guest.transmit.used().len(), 1);
}

#[test]
fn after_a_reset_nothing_is_taken_until_the_next_start() {
    let mut guest = Guest::new();
    guest.offer(b"late\n", 9);
    guest.console.stop().unwrap();
    guest.serve();
    assert_eq!(guest.read(), b"");
    assert_eq!(guest.transmit.used(), []);
    guest.start();
    guest.serve();
    assert_eq!(guest.read(), b"late\n");
}

#[test]
fn a_driver_that_breaks_its_queue_has_to_reset() {
    let mut guest = Guest::new();
    guest.transmit.set_available(QUEUE_SIZE + 1);
    assert_eq!(guest.console.serve(0).unwrap(), Served::NeedsReset);
    guest.serve();
}

proptest! {
    #[test]
    fn output_is_what_the_guest_wrote(
        texts in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..5000), 100_usize..6000), 1..10),
    ) {
        let mut guest = Guest::new();
        for (text, cut) in texts {
            guest.offer(&text, cut);
            guest.serve();
            prop_assert_eq!(guest.read(), text);
        }
    }

    /// Whatever is in the rings: each chain goes back once, and what comes out
    /// has a limit.
    #[test]
    fn nothing_that_a_driver_writes_stops_the_queue((table, heads) in hostile(64)) {
        let mut guest = Guest::new();
        guest.transmit.offer_raw(&table, &heads);
        guest.serve();
        let used: Vec<_> = heads.iter().map(|head| (u32::from(*head), 0)).collect();
        prop_assert_eq!(guest.transmit.used(), used);
        let seen = guest.read().len() as u64 + guest.lost.bytes();
        prop_assert!(seen <= (heads.len() * MOST_BYTES) as u64);
    }
}
