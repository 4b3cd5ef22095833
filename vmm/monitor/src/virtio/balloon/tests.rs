use super::*;
use crate::events::Events;
use crate::virtio::Slot;
use crate::virtio::driver::{Driver, Line, Region, all, hostile, memory};
use proptest::prelude::*;
use std::os::unix::fs::MetadataExt;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

/// Memory that tests give back, behind what the queues have.
const FREE: u64 = 48 << 20;

struct Guest {
    balloon: Balloon,
    target: Arc<Target>,
    inflate: Driver,
    deflate: Driver,
    report: Driver,
    events: Events,
}

impl Guest {
    fn new() -> Self {
        let memory = memory();
        let [inflate, deflate, report] =
            [0, 1, 2].map(|number| Driver::new(&memory, number, QUEUE_SIZE, true));
        let target = Target::new().unwrap();
        let mut guest = Self {
            balloon: Balloon::new(Arc::clone(&target)),
            target,
            inflate,
            deflate,
            report,
            events: Events::new().unwrap(),
        };
        guest.start();
        guest
    }

    fn start(&mut self) {
        let features = self.balloon.features().unwrap();
        let queues = [&self.inflate, &self.deflate, &self.report];
        self.balloon
            .start(Start {
                features,
                queues: queues.map(|driver| Some(driver.ready())).into(),
                memory: self.report.memory.clone(),
                interrupt: Line::new().interrupt(),
                sources: self.events.sources(Slot::new(0).unwrap()),
            })
            .unwrap();
    }

    fn memory(&self) -> &GuestMemoryMmap {
        &self.report.memory
    }

    fn touch(&self, pages: std::ops::Range<u64>) {
        for page in pages {
            let address = GuestAddress(FREE + page * PAGE);
            self.memory().write_obj(7_u8, address).unwrap();
        }
    }

    /// Pages that lost their content.
    fn gone(&self, mut pages: std::ops::Range<u64>) -> bool {
        pages.all(|page| {
            let address = GuestAddress(FREE + page * PAGE);
            self.memory().read_obj::<u8>(address).unwrap() == 0
        })
    }

    /// Pages that the memory takes up on the host.
    fn taken(&self) -> u64 {
        let region = self.memory().iter().next().unwrap();
        let file = region.file_offset().unwrap().file();
        file.metadata().unwrap().blocks() * 512 / PAGE
    }

    fn inflate(&mut self, pages: &[u32], cuts: usize) {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        let regions: Vec<Region> = bytes
            .chunks(cuts)
            .map(|part| self.inflate.place(part))
            .collect();
        self.inflate.offer_indirect(&all(&regions, Access::Read));
        assert_eq!(self.balloon.serve(0).unwrap(), Served::Quiet);
        assert_eq!(self.inflate.used().len(), 1);
    }

    fn report(&mut self, regions: &[Region]) {
        self.report.offer(&all(regions, Access::Write));
        assert_eq!(self.balloon.serve(2).unwrap(), Served::Quiet);
        assert_eq!(self.report.used().len(), 1);
    }
}

fn number(page: u64) -> u32 {
    u32::try_from(FREE / PAGE + page).unwrap()
}

#[test]
fn reported_pages_go_back_to_the_host() {
    let mut guest = Guest::new();
    guest.touch(0..1024);
    let taken = guest.taken();
    let four_mib = 1024 * 4096 / 2;
    guest.report(&[(FREE, four_mib), (FREE + four_mib as u64, four_mib)]);
    // Before reading, which takes memory as writing does. The rings have
    // taken a page each.
    assert_eq!(guest.taken(), taken - 1024 + 3);
    assert!(guest.gone(0..1024));
}

#[test]
fn the_driver_is_told_how_much_to_give_and_tells_how_much_it_gave() {
    let mut guest = Guest::new();
    let field =
        |guest: &Guest, range: std::ops::Range<usize>| guest.balloon.config()[range].to_vec();
    guest.target.want(5 * PAGE);
    assert_eq!(guest.balloon.serve(TARGET).unwrap(), Served::ConfigChanged);
    assert_eq!(field(&guest, WANTED), 5_u32.to_le_bytes());
    assert_eq!(guest.target.there(), 0);
    guest.balloon.write_config(4, &3_u32.to_le_bytes());
    assert_eq!(guest.target.there(), 3 * PAGE);
    // What is wanted is not the driver's to say.
    guest.balloon.write_config(0, &[0xff; 4]);
    guest.balloon.stop().unwrap();
    assert_eq!(field(&guest, WANTED), 5_u32.to_le_bytes());
    assert_eq!(guest.target.there(), 0);
    guest.target.want(u64::MAX);
    guest.balloon.serve(TARGET).unwrap();
    assert_eq!(field(&guest, WANTED), [0xff; 4]);
    guest.balloon.write_config(4, &[0xff; 4]);
    assert_eq!(guest.target.there(), u64::from(u32::MAX) * PAGE);
}

#[test]
fn given_pages_go_back_to_the_host_however_their_numbers_are_cut() {
    for cuts in [4096, 4, 3, 1] {
        let mut guest = Guest::new();
        guest.touch(0..8);
        guest.inflate(&[number(0), number(1), number(2), number(6)], cuts);
        assert!(guest.gone(0..3) && guest.gone(6..7), "{cuts}");
        assert!(!guest.gone(3..4) && !guest.gone(5..6) && !guest.gone(7..8));
    }
}

#[test]
fn what_is_not_memory_stays_away_and_the_rest_goes() {
    let mut guest = Guest::new();
    guest.touch(0..2);
    let end = (64 << 20) / 4096;
    let window = 0xd000_0000_u32 / 4096;
    let pages = [number(0), end, window, u32::MAX, number(1)];
    guest.inflate(&pages, 4096);
    assert!(guest.gone(0..2));
    guest.touch(0..2);
    guest.report(&[(FREE, 4096), (0xd000_0000, 4096), (FREE + 4096, 4096)]);
    assert!(guest.gone(0..1) && !guest.gone(1..2));
}

#[test]
fn lists_without_end_or_limit_are_refused() {
    let mut guest = Guest::new();
    guest.touch(0..1);
    guest.inflate(&[number(0); 1025], 8192);
    assert!(!guest.gone(0..1));
    guest.inflate(&[number(0); 1024], 8192);
    assert!(guest.gone(0..1));

    guest.touch(0..1);
    guest.report.offer_loop((FREE + 4096, 4096), Access::Write);
    guest.balloon.serve(2).unwrap();
    assert_eq!(guest.report.used().len(), 1);
    guest.report(&[(FREE, 4095)]);
    guest.report(&[(FREE + 1, 4096)]);
    guest.report(&[(FREE, 0)]);
    assert!(!guest.gone(0..1));

    // The wrong way round.
    guest.report.offer(&all(&[(FREE, 4096)], Access::Read));
    guest.balloon.serve(2).unwrap();
    let list = guest.inflate.place(&number(0).to_le_bytes());
    guest.inflate.offer(&all(&[list], Access::Write));
    guest.balloon.serve(0).unwrap();
    assert!(!guest.gone(0..1));
    assert_eq!(guest.inflate.used().len(), 1);
}

/// A call of the kernel's for each: the event loop gets its turn in between.
#[test]
fn pages_that_are_not_together_are_given_in_turns() {
    let mut guest = Guest::new();
    guest.touch(0..400);
    let mut scattered = |first: u64| {
        let pages = (0..100).flat_map(|n| number(first + 2 * n).to_le_bytes());
        let list = guest.inflate.place(&pages.collect::<Vec<_>>());
        guest.inflate.offer(&all(&[list], Access::Read));
    };
    scattered(0);
    scattered(200);
    let kick = Arc::clone(&guest.inflate.kick);
    guest.balloon.serve(0).unwrap();
    assert_eq!(guest.inflate.used().len(), 1);
    assert!(guest.gone(198..199) && !guest.gone(200..201));
    assert_eq!(kick.read().unwrap(), 1, "nobody calls");
    guest.balloon.serve(0).unwrap();
    assert_eq!(guest.inflate.used().len(), 1);
    assert!(guest.gone(398..399));
    // Reports cost as much.
    let pages: Vec<_> = (0..40).map(|n| (FREE + 2 * n * PAGE, 4096)).collect();
    guest.report.offer(&all(&pages, Access::Write));
    guest.report.offer(&all(&pages, Access::Write));
    guest.report.offer(&all(&pages, Access::Write));
    guest.balloon.serve(2).unwrap();
    assert_eq!(guest.report.used().len(), 2);
}

#[test]
fn pages_that_have_to_keep_a_value_stay() {
    let mut guest = Guest::new();
    guest.touch(0..1);
    guest.balloon.write_config(12, &0xaa_u32.to_le_bytes());
    guest.report(&[(FREE, 4096)]);
    assert!(!guest.gone(0..1));
    guest.balloon.write_config(12, &0_u32.to_le_bytes());
    guest.report(&[(FREE, 4096)]);
    assert!(guest.gone(0..1));
}

#[test]
fn a_driver_writes_what_is_its_own_and_no_more() {
    let mut balloon = Balloon::new(Target::new().unwrap());
    balloon.write_config(0, &[0xff; 32]);
    balloon.write_config(usize::MAX, &[0xff; 4]);
    let config = balloon.config().into_owned();
    let expected = [[0; 4], [0xff; 4], [0; 4], [0xff; 4]].concat();
    assert_eq!(config, expected);
}

#[test]
fn pages_that_are_taken_back_need_nothing() {
    let mut guest = Guest::new();
    let list = guest.deflate.place(&number(0).to_le_bytes());
    guest.deflate.offer(&all(&[list], Access::Read));
    assert!(guest.deflate.kick());
    assert_eq!(guest.balloon.serve(1).unwrap(), Served::Quiet);
    assert_eq!(guest.deflate.used(), [(0, 0)]);
}

#[test]
fn after_a_reset_nothing_is_taken_until_the_next_start() {
    let mut guest = Guest::new();
    guest.touch(0..1);
    guest.balloon.write_config(12, &[1; 4]);
    guest.report.offer(&all(&[(FREE, 4096)], Access::Write));
    guest.balloon.stop().unwrap();
    assert_eq!(guest.balloon.serve(2).unwrap(), Served::Quiet);
    assert!(!guest.gone(0..1));
    assert_eq!(guest.balloon.config().as_ref(), [0; 16]);
    guest.start();
    guest.balloon.serve(2).unwrap();
    assert!(guest.gone(0..1));
}

#[test]
fn a_driver_that_breaks_its_queue_has_to_reset() {
    let mut guest = Guest::new();
    guest.report.set_available(QUEUE_SIZE + 1);
    assert_eq!(guest.balloon.serve(2).unwrap(), Served::NeedsReset);
    assert_eq!(guest.balloon.serve(2).unwrap(), Served::Quiet);
    guest.balloon.stop().unwrap();
}

proptest! {
    /// Whatever is in the rings: each chain goes back once.
    #[test]
    fn nothing_that_a_driver_writes_stops_the_queues((table, heads) in hostile(128)) {
        let heads: Vec<_> = heads.into_iter().take(60).collect();
        let mut guest = Guest::new();
        for queue in [0, 2] {
            let driver = if queue == 0 { &mut guest.inflate } else { &mut guest.report };
            // The first megabytes are where the rings are, which would go too.
            let table: Vec<_> = table
                .iter()
                .map(|(address, length, flags, next)| (address | FREE, length % (8 << 20), *flags, *next))
                .collect();
            driver.offer_raw(&table, &heads);
            // Each turn answers one at least.
            let mut answered = Vec::new();
            for _ in &heads {
                prop_assert_eq!(guest.balloon.serve(queue).unwrap(), Served::Quiet);
                let driver = if queue == 0 { &mut guest.inflate } else { &mut guest.report };
                answered.extend(driver.used());
            }
            let used: Vec<_> = heads.iter().map(|head| (u32::from(*head), 0)).collect();
            prop_assert_eq!(answered, used);
        }
    }
}
