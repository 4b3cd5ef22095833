use super::*;
use crate::events::Events;
use crate::virtio::Slot;
use crate::virtio::chain::Access;
use crate::virtio::driver::{Driver, Line, Region, all, hostile, memory};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Mutex;

const START: u64 = 8 << 30;
const BLOCKS: u64 = 8;

// The specification's numbers.
const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;
const ACK: u8 = 0;
const NACK: u8 = 1;
const BUSY: u8 = 2;
const ERROR: u8 = 3;

/// A host that refuses one block, and complains of what it is not to be asked.
#[derive(Clone, Default)]
struct Fake {
    given: Arc<Mutex<BTreeSet<usize>>>,
    refuses: Option<usize>,
}

impl Fake {
    fn check(&self, step: &'static str, block: usize) -> Result<(), HostError> {
        match self.refuses == Some(block) {
            false => Ok(()),
            true => Err(HostError {
                step,
                block,
                source: std::io::ErrorKind::OutOfMemory.into(),
            }),
        }
    }
}

impl Host for Fake {
    fn plug(&mut self, block: usize) -> Result<(), HostError> {
        self.check("plug", block)?;
        assert!(self.given.lock().unwrap().insert(block), "given twice");
        Ok(())
    }

    fn unplug(&mut self, block: usize) -> Result<(), HostError> {
        self.check("unplug", block)?;
        assert!(self.given.lock().unwrap().remove(&block), "never given");
        Ok(())
    }
}

struct Guest {
    mem: Mem,
    target: Arc<Target>,
    host: Fake,
    driver: Driver,
    line: Line,
    events: Events,
}

impl Guest {
    fn new(host: Fake) -> Self {
        Self::with_blocks(BLOCKS, host)
    }

    fn with_blocks(blocks: u64, host: Fake) -> Self {
        let target = Target::new().unwrap();
        let kept = Arc::clone(&target);
        let mut guest = Self {
            mem: Mem::new(START, blocks * BLOCK, kept, Box::new(host.clone())),
            target,
            host,
            driver: Driver::new(&memory(), 0, QUEUE_SIZE, true),
            line: Line::new(),
            events: Events::new().unwrap(),
        };
        guest.start();
        guest
    }

    fn start(&mut self) {
        let features = self.mem.features().unwrap();
        self.mem
            .start(Start {
                features,
                queues: vec![Some(self.driver.ready())],
                memory: self.driver.memory.clone(),
                interrupt: self.line.interrupt(),
                sources: self.events.sources(Slot::new(0).unwrap()),
            })
            .unwrap();
    }

    /// As the transport: the configuration, then the answer.
    fn serve(&mut self) -> Served {
        match self.mem.serve(REQUESTS).unwrap() {
            Served::ConfigRewritten => {
                assert!(self.driver.used().is_empty(), "the answer came first");
                self.mem.config_shown().unwrap()
            }
            other => other,
        }
    }

    fn ask_raw(&mut self, request: &[u8], room: usize) -> (u32, Vec<u8>) {
        let request = self.driver.place(request);
        let answer = self.driver.reserve(room);
        let parts = [(request, Access::Read), (answer, Access::Write)];
        self.driver.offer(&parts);
        assert_eq!(self.serve(), Served::Quiet);
        let used = self.driver.used();
        assert_eq!(used.len(), 1);
        (used[0].1, self.driver.read(answer))
    }

    /// Type of the answer, and the state in it.
    fn ask(&mut self, kind: u16, block: u64, count: u16) -> (u8, u8) {
        let (written, answer) = self.ask_raw(&request(kind, START + block * BLOCK, count), 10);
        assert_eq!(written, 10);
        (answer[0], answer[8])
    }

    fn given(&self) -> Vec<usize> {
        self.host.given.lock().unwrap().iter().copied().collect()
    }

    /// Field of the configuration at `offset`.
    fn field(&self, offset: usize) -> u64 {
        let config = self.mem.config();
        u64::from_le_bytes(config[offset..offset + 8].try_into().unwrap())
    }
}

fn request(kind: u16, address: u64, count: u16) -> Vec<u8> {
    let mut bytes = u64::from(kind).to_le_bytes().to_vec();
    bytes.extend(address.to_le_bytes());
    bytes.extend(u64::from(count).to_le_bytes());
    bytes
}

#[test]
fn memory_comes_when_it_is_wanted_and_goes() {
    let mut guest = Guest::new(Fake::default());
    assert_eq!(guest.ask(PLUG, 0, 1), (NACK, 0), "nothing is wanted");
    guest.target.want(4 * BLOCK);
    assert_eq!(guest.mem.serve(TARGET).unwrap(), Served::ConfigChanged);
    assert_eq!(guest.ask(PLUG, 2, 3), (ACK, 0));
    assert_eq!(guest.given(), [2, 3, 4]);
    assert_eq!(guest.target.there(), 3 * BLOCK);
    // Block size, address, region, usable, plugged, requested.
    let fields = [0, 16, 24, 32, 40, 48].map(|offset| guest.field(offset));
    let region = BLOCKS * BLOCK;
    assert_eq!(fields, [BLOCK, START, region, region, 3 * BLOCK, 4 * BLOCK]);
    assert_eq!(guest.ask(STATE, 2, 3), (ACK, 0));
    assert_eq!(guest.ask(STATE, 5, 2), (ACK, 1));
    assert_eq!(guest.ask(STATE, 1, 2), (ACK, 2));
    assert_eq!(guest.ask(PLUG, 6, 2), (NACK, 0), "more than is wanted");
    assert_eq!(guest.ask(UNPLUG, 3, 1), (ACK, 0));
    assert_eq!(guest.given(), [2, 4]);
    assert_eq!(guest.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
    assert!(guest.given().is_empty());
    assert_eq!(guest.target.there(), 0);
    assert!(guest.line.count() > 0);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut guest = Guest::new(Fake::default());
    guest.target.want(8 * BLOCK);
    assert_eq!(guest.ask(PLUG, 0, 2), (ACK, 0));
    for (kind, block, count) in [
        (PLUG, 0, 1),
        (PLUG, 1, 2),
        (PLUG, 2, 0),
        (PLUG, 7, 2),
        (PLUG, 8, 1),
        (UNPLUG, 2, 1),
        (UNPLUG, 1, 2),
        (STATE, 8, 1),
        (4, 0, 1),
        (u16::MAX, 0, 1),
    ] {
        assert_eq!(guest.ask(kind, block, count), (ERROR, 0));
    }
    for address in [START + 4096, START - BLOCK, 0, u64::MAX] {
        let (_, answer) = guest.ask_raw(&request(PLUG, address, 1), 10);
        assert_eq!(answer[0], ERROR);
    }
    assert_eq!(guest.given(), [0, 1]);
}

#[test]
fn requests_that_are_cut_off_are_survived() {
    let mut guest = Guest::new(Fake::default());
    guest.target.want(BLOCK);
    let whole = request(PLUG, START, 1);
    assert_eq!(guest.ask_raw(&whole[..23], 10).1[0], ERROR);
    assert_eq!(guest.ask_raw(&whole[..1], 10).0, 0);
    assert_eq!(guest.ask_raw(&whole, 9).0, 0);
    assert!(guest.given().is_empty());
    let region: Region = guest.driver.place(&whole);
    guest.driver.offer(&all(&[region], Access::Read));
    guest.serve();
    assert_eq!(guest.driver.used()[0].1, 0, "no room for an answer");
    // Type alone is enough for all.
    assert_eq!(guest.ask_raw(&UNPLUG_ALL.to_le_bytes(), 10).1[0], ACK);
}

#[test]
fn a_host_without_memory_gives_none_of_it() {
    let refuses = Some(2);
    let mut guest = Guest::new(Fake {
        refuses,
        ..Fake::default()
    });
    guest.target.want(8 * BLOCK);
    assert_eq!(guest.ask(PLUG, 0, 4), (BUSY, 0));
    assert!(guest.given().is_empty());
    assert_eq!(guest.ask(PLUG, 3, 2), (ACK, 0));
    assert_eq!(guest.target.there(), 2 * BLOCK);
}

/// Turns until a request has its answer, and the answer's type. Whatever else there
/// is has its turn in between.
fn turns(guest: &mut Guest, kind: u16, count: u16) -> (usize, u8) {
    let bytes = guest.driver.place(&request(kind, START, count));
    let answer = guest.driver.reserve(10);
    guest
        .driver
        .offer(&[(bytes, Access::Read), (answer, Access::Write)]);
    for turn in 1.. {
        let before = guest.given().len();
        guest.serve();
        assert!(guest.given().len().abs_diff(before) <= PORTION);
        if guest.driver.used().len() == 1 {
            return (turn, guest.driver.read(answer)[0]);
        }
        assert!(guest.driver.kick.read().unwrap() > 0, "nobody calls");
    }
    unreachable!()
}

#[test]
fn many_blocks_come_and_go_in_portions() {
    let many = 3 * PORTION as u64 - 1;
    let mut guest = Guest::with_blocks(10 * many, Fake::default());
    guest.target.want(many * BLOCK);
    let count = u16::try_from(many).unwrap();
    assert_eq!(turns(&mut guest, PLUG, count), (3, ACK));
    assert_eq!(guest.target.there(), many * BLOCK);
    assert_eq!(turns(&mut guest, UNPLUG, count), (3, ACK));
    assert_eq!(turns(&mut guest, PLUG, count), (3, ACK));
    // Those that are not there cost nothing.
    assert_eq!(turns(&mut guest, UNPLUG_ALL, 0), (3, ACK));
    assert!(guest.given().is_empty());
    assert_eq!(guest.target.there(), 0);
}

#[test]
fn what_came_before_the_host_had_no_more_goes_in_portions_too() {
    let many = 3 * PORTION;
    let mut guest = Guest::with_blocks(
        many as u64,
        Fake {
            refuses: Some(2 * PORTION),
            ..Fake::default()
        },
    );
    guest.target.want(many as u64 * BLOCK);
    let count = u16::try_from(many).unwrap();
    assert_eq!(turns(&mut guest, PLUG, count), (5, BUSY));
    assert!(guest.given().is_empty());
    assert_eq!(guest.target.there(), 0);
}

/// The next one asks what is there, or takes all out.
#[test]
fn a_reset_ends_what_is_under_way() {
    let mut guest = Guest::with_blocks(100, Fake::default());
    guest.target.want(100 * BLOCK);
    let bytes = guest.driver.place(&request(PLUG, START, 100));
    let answer = guest.driver.reserve(10);
    guest
        .driver
        .offer(&[(bytes, Access::Read), (answer, Access::Write)]);
    guest.serve();
    guest.mem.stop().unwrap();
    assert_eq!(guest.mem.serve(REQUESTS).unwrap(), Served::Quiet);
    assert_eq!(guest.given().len(), PORTION);
    guest.driver = Driver::new(&memory(), 1, QUEUE_SIZE, true);
    guest.start();
    assert_eq!(guest.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
    assert!(guest.given().is_empty());
}

#[test]
fn blocks_outlive_their_driver() {
    let mut guest = Guest::new(Fake::default());
    guest.target.want(2 * BLOCK);
    assert_eq!(guest.ask(PLUG, 0, 2), (ACK, 0));
    guest.mem.stop().unwrap();
    assert_eq!(guest.mem.serve(REQUESTS).unwrap(), Served::Quiet);
    guest.driver = Driver::new(&memory(), 1, QUEUE_SIZE, true);
    guest.start();
    assert_eq!(guest.ask(STATE, 0, 2), (ACK, 0));
    assert_eq!(guest.given(), [0, 1]);
}

proptest! {
    /// Whatever a driver asks, host and device agree, and never on more than is
    /// wanted.
    #[test]
    fn no_requests_lead_to_more_than_is_wanted(
        wanted in 0..BLOCKS,
        requests in proptest::collection::vec((0_u16..5, 0_u64..10, 0_u16..10), 0..20),
    ) {
        let mut guest = Guest::new(Fake::default());
        guest.target.want(wanted * BLOCK);
        for (kind, block, count) in requests {
            guest.ask(kind, block, count);
            let given = guest.given().len() as u64;
            prop_assert!(given <= wanted);
            prop_assert_eq!(given * BLOCK, guest.field(40));
            prop_assert_eq!(given * BLOCK, guest.target.there());
        }
    }

    #[test]
    fn no_descriptors_lead_to_more_either((table, heads) in hostile(QUEUE_SIZE)) {
        let mut guest = Guest::new(Fake::default());
        guest.target.want(BLOCK);
        guest.driver.offer_raw(&table, &heads);
        for _ in 0..=heads.len() {
            let served = guest.mem.serve(REQUESTS).unwrap();
            if served == Served::ConfigRewritten {
                guest.mem.config_shown().unwrap();
            }
        }
        prop_assert!(guest.given().len() <= 1);
        prop_assert!(usize::from(guest.driver.used_index()) <= heads.len());
    }
}
