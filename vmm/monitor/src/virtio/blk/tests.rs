//! The device with a driver's requests on real files, with io_uring and
//! without.

use super::*;
use crate::events::{Events, Token};
use crate::virtio::Slot;
use crate::virtio::chain::Access;
use crate::virtio::driver::{Driver, Line, Region, hostile, memory};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use virtio_bindings::virtio_blk as blk;

const SECTORS: u64 = 256;
const SERIAL: &str = "data-1";
/// The status byte before the device writes it.
const UNTOUCHED: u8 = 0xee;
const OK: u8 = 0;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

fn disk_config() -> DiskConfig {
    DiskConfig {
        serial: SERIAL.into(),
        read_only: false,
        queues: 1,
    }
}

/// A guest with one disk.
struct Guest {
    disk: Disk,
    drivers: Vec<Driver>,
    events: Events,
    engine: Engine,
    line: Line,
    file: File,
}

/// A request that was made.
struct Made {
    queue: usize,
    head: u16,
    data: Region,
    status: Region,
}

fn engines() -> [Engine; 2] {
    let ring = Engine::new().unwrap();
    assert!(ring.is_asynchronous(), "no io_uring here");
    [ring, Engine::at_once().unwrap()]
}

fn each(test: impl Fn(Guest)) {
    for engine in engines() {
        test(Guest::new(disk_config(), engine, |offered| offered));
    }
}

impl Guest {
    fn new(config: DiskConfig, engine: Engine, features: impl FnOnce(u64) -> u64) -> Self {
        Self::with_sectors(SECTORS, config, engine, features)
    }

    fn with_sectors(
        sectors: u64,
        config: DiskConfig,
        engine: Engine,
        features: impl FnOnce(u64) -> u64,
    ) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(sectors * 512).unwrap();
        let memory = memory();
        let queues = u64::from(config.queues);
        let drivers = (0..queues).map(|n| Driver::new(&memory, n, QUEUE_SIZE, true));
        let backing = file.try_clone().unwrap().into();
        let mut guest = Self {
            disk: Disk::new(&config, backing, engine.clone()).unwrap(),
            drivers: drivers.collect(),
            events: Events::new().unwrap(),
            engine,
            line: Line::new(),
            file,
        };
        guest.events.watch(&guest.engine, Token::Disks).unwrap();
        let features = features(guest.disk.features().unwrap());
        guest.start(features);
        guest
    }

    fn start(&mut self, features: u64) {
        let queues = self.drivers.iter().map(|driver| Some(driver.ready()));
        self.disk
            .start(Start {
                features,
                queues: queues.collect(),
                memory: self.drivers[0].memory.clone(),
                interrupt: self.line.interrupt(),
                sources: self.events.sources(Slot::new(3).unwrap()),
            })
            .unwrap();
    }

    /// Makes a request available: header, data that the device reads or room
    /// for what it writes.
    fn make(&mut self, queue: usize, header: (u32, u64), data: &[u8], room: usize) -> Made {
        let driver = &mut self.drivers[queue];
        let mut bytes = header.0.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(header.1.to_le_bytes());
        let header = (driver.place(&bytes), Access::Read);
        let status = driver.place(&[UNTOUCHED]);
        let (region, access) = match room {
            0 => (driver.place(data), Access::Read),
            _ => (driver.reserve(room), Access::Write),
        };
        let (first, second) = (region.1 / 3, region.1 - region.1 / 3);
        let parts = [
            header,
            ((region.0, first), access),
            ((region.0 + first as u64, second), access),
            (status, Access::Write),
        ];
        let head = driver.offer(&parts);
        Made {
            queue,
            head,
            data: region,
            status,
        }
    }

    /// Serves kicks and finished work until so many are answered.
    fn serve(&mut self, queue: usize, answers: usize) -> Vec<(u32, u32)> {
        self.drivers[queue].kick.write(1).unwrap();
        let source = u16::try_from(queue).unwrap();
        assert_eq!(self.disk.serve(source).unwrap(), Served::Quiet);
        let mut used = self.drivers[queue].used();
        while used.len() < answers {
            for token in self.events.wait().unwrap() {
                match token {
                    Token::Disks => {
                        for slot in self.engine.ready().unwrap() {
                            assert_eq!(slot, Slot::new(3).unwrap());
                            self.disk.serve(FINISHED).unwrap();
                        }
                    }
                    Token::Device { source, .. } => {
                        self.disk.serve(source).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            used.extend(self.drivers[queue].used());
        }
        used
    }

    fn status(&self, made: &Made) -> u8 {
        self.drivers[made.queue].read(made.status)[0]
    }

    /// One request and its answer: status, bytes written, data.
    fn ask(&mut self, kind: u32, sector: u64, data: &[u8], room: usize) -> (u8, u32, Vec<u8>) {
        let made = self.make(0, (kind, sector), data, room);
        let used = self.serve(0, 1);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, u32::from(made.head));
        assert!(self.line.count() > 0);
        self.drivers[0].set_used_event(self.drivers[0].used_index());
        let data = self.drivers[0].read(made.data);
        (self.status(&made), used[0].1, data)
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.ask(blk::VIRTIO_BLK_T_OUT, sector, data, 0).0
    }

    fn read(&mut self, sector: u64, sectors: usize) -> (u8, u32, Vec<u8>) {
        self.ask(blk::VIRTIO_BLK_T_IN, sector, &[], sectors * 512)
    }

    fn clear(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
        let mut range = sector.to_le_bytes().to_vec();
        range.extend(sectors.to_le_bytes());
        range.extend(flags.to_le_bytes());
        self.ask(kind, 0, &range, 0).0
    }

    fn content(&self, sector: u64, sectors: usize) -> Vec<u8> {
        let mut bytes = vec![0; sectors * 512];
        self.file.read_exact_at(&mut bytes, sector * 512).unwrap();
        bytes
    }
}

fn pattern(seed: u8, sectors: usize) -> Vec<u8> {
    let bytes = (0..sectors * 512).map(|at| (at % 251).to_le_bytes()[0].wrapping_add(seed));
    bytes.collect()
}

/// As many bytes as nobody has memory for: the same, again and again.
#[test]
fn a_long_request_is_done_in_turns() {
    const PIECE: usize = 24 << 20;
    const PIECES: usize = 10;
    let sectors = (PIECES * PIECE / 512) as u64;
    let engine = Engine::at_once().unwrap();
    let mut guest = Guest::with_sectors(sectors, disk_config(), engine, |offered| offered);
    let driver = &mut guest.drivers[0];
    let mut header = blk::VIRTIO_BLK_T_IN.to_le_bytes().to_vec();
    header.resize(16, 0);
    let mut parts = vec![(driver.place(&header), Access::Read)];
    parts.extend([((32 << 20, PIECE), Access::Write); PIECES]);
    let status = driver.place(&[UNTOUCHED]);
    parts.push((status, Access::Write));
    driver.offer(&parts);
    driver.kick.write(1).unwrap();
    let steps = (PIECES * PIECE).div_ceil(vectors::MOST_AT_ONCE);
    for _ in 0..steps.div_ceil(crate::virtio::ring::BUDGET.into()) {
        assert_eq!(guest.drivers[0].used_index(), 0);
        assert_eq!(guest.events.wait().unwrap().len(), 1, "nobody calls");
        guest.disk.serve(0).unwrap();
    }
    assert_eq!(guest.drivers[0].used().len(), 1);
    assert_eq!(guest.drivers[0].read(status), [OK]);
}

#[test]
fn what_is_written_is_in_the_file_and_is_read_again() {
    each(|mut guest| {
        let data = pattern(1, 5);
        assert_eq!(guest.write(7, &data), OK);
        assert_eq!(guest.content(7, 5), data);
        let (status, written, read) = guest.read(7, 5);
        assert_eq!((status, written), (OK, 5 * 512 + 1));
        assert_eq!(read, data);
        assert_eq!(guest.ask(blk::VIRTIO_BLK_T_FLUSH, 0, &[], 0).0, OK);
        assert_eq!(guest.content(6, 1), [0; 512]);
        assert_eq!(guest.content(12, 1), [0; 512]);
    });
}

#[test]
fn the_end_of_the_disk_is_the_end() {
    each(|mut guest| {
        assert_eq!(guest.write(SECTORS - 1, &pattern(1, 1)), OK);
        assert_eq!(guest.write(SECTORS - 1, &pattern(1, 2)), ERROR);
        for sector in [SECTORS, u64::MAX, u64::MAX / 512] {
            assert_eq!(guest.write(sector, &pattern(1, 1)), ERROR);
            assert_eq!(guest.read(sector, 1).0, ERROR);
        }
        assert_eq!(guest.write(0, &[1; 511]), ERROR);
        assert_eq!(guest.ask(blk::VIRTIO_BLK_T_IN, 0, &[], 513).0, ERROR);
        assert_eq!(guest.write(0, &[]), ERROR);
        assert_eq!(guest.file.metadata().unwrap().len(), SECTORS * 512);
    });
}

#[test]
fn its_serial_is_told() {
    each(|mut guest| {
        let (status, written, id) = guest.ask(blk::VIRTIO_BLK_T_GET_ID, 0, &[], 20);
        assert_eq!((status, written), (OK, 21));
        assert_eq!(&id[..7], b"data-1\0");
        let (status, written, _) = guest.ask(blk::VIRTIO_BLK_T_GET_ID, 0, &[], 3);
        assert_eq!((status, written), (OK, 4));
    });
}

#[test]
fn a_discarded_range_takes_no_room_and_reads_as_zeros() {
    each(|mut guest| {
        guest.write(0, &pattern(1, 64));
        guest.file.sync_all().unwrap();
        let before = guest.file.metadata().unwrap().blocks();
        let discard = blk::VIRTIO_BLK_T_DISCARD;
        assert_eq!(guest.clear(discard, 8, 48, 0), OK);
        let after = guest.file.metadata().unwrap().blocks();
        assert_eq!(before - after, 48);
        assert_eq!(guest.content(8, 48), vec![0; 48 * 512]);
        assert_eq!(guest.content(0, 8), &pattern(1, 64)[..8 * 512]);
        assert_eq!(guest.content(56, 8), &pattern(1, 64)[56 * 512..]);
        assert_eq!(guest.file.metadata().unwrap().len(), SECTORS * 512);
    });
}

#[test]
fn zeros_are_written_with_and_without_unmapping() {
    each(|mut guest| {
        let zeroes = blk::VIRTIO_BLK_T_WRITE_ZEROES;
        for flags in [0, blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP] {
            guest.write(0, &pattern(1, 64));
            assert_eq!(guest.clear(zeroes, 3, 40, flags), OK);
            assert_eq!(guest.content(3, 40), vec![0; 40 * 512]);
            assert_eq!(guest.content(0, 3), &pattern(1, 64)[..3 * 512]);
            assert_eq!(guest.content(43, 21), &pattern(1, 64)[43 * 512..]);
        }
    });
}

#[test]
fn impossible_ranges_and_flags_are_refused() {
    each(|mut guest| {
        let (discard, zeroes) = (blk::VIRTIO_BLK_T_DISCARD, blk::VIRTIO_BLK_T_WRITE_ZEROES);
        guest.write(0, &pattern(1, 64));
        for kind in [discard, zeroes] {
            assert_eq!(guest.clear(kind, 0, 0, 0), ERROR);
            assert_eq!(guest.clear(kind, SECTORS, 1, 0), ERROR);
            assert_eq!(guest.clear(kind, 1, u32::MAX, 0), ERROR);
            assert_eq!(guest.clear(kind, u64::MAX, 1, 0), ERROR);
            assert_eq!(guest.clear(kind, 0, 1, 2), UNSUPPORTED);
            for length in [0, 15, 17, 32] {
                assert_eq!(guest.ask(kind, 0, &vec![0; length], 0).0, ERROR, "{length}");
            }
        }
        assert_eq!(guest.clear(discard, 0, 1, 1), UNSUPPORTED);
        for kind in [3, 14, 99, u32::MAX] {
            assert_eq!(guest.ask(kind, 0, &[], 512).0, UNSUPPORTED);
        }
        assert_eq!(guest.content(0, 64), pattern(1, 64));
    });
}

#[test]
fn a_read_only_disk_is_only_read() {
    for engine in engines() {
        let config = DiskConfig {
            read_only: true,
            ..disk_config()
        };
        let mut guest = Guest::new(config, engine, |offered| offered);
        guest.file.write_all_at(&pattern(4, 2), 512).unwrap();
        assert_eq!(guest.write(1, &pattern(1, 1)), ERROR);
        for kind in [blk::VIRTIO_BLK_T_DISCARD, blk::VIRTIO_BLK_T_WRITE_ZEROES] {
            assert_eq!(guest.clear(kind, 1, 1, 0), ERROR);
        }
        assert_eq!(guest.read(1, 2), (OK, 1025, pattern(4, 2)));
    }
}

#[test]
fn a_file_that_was_cut_off_is_an_error_behind_its_end() {
    each(|mut guest| {
        guest.write(0, &pattern(1, 64));
        guest.file.set_len(10 * 512 + 100).unwrap();
        assert_eq!(guest.read(0, 10).0, OK);
        assert_eq!(guest.read(8, 4).0, ERROR);
        assert_eq!(guest.read(64, 1).0, ERROR);
        // There is room again as soon as it is written to.
        assert_eq!(guest.write(20, &pattern(2, 1)), OK);
        assert_eq!(guest.read(20, 1).2, pattern(2, 1));
    });
}

#[test]
fn more_requests_than_may_be_under_way_are_all_answered_once() {
    for engine in engines() {
        let config = DiskConfig {
            queues: 3,
            ..disk_config()
        };
        let mut guest = Guest::new(config, engine, |offered| offered);
        let each_queue = u64::from(QUEUE_SIZE / 4);
        let mut made = Vec::new();
        for sector in 0..3 * each_queue {
            let queue = usize::try_from(sector % 3).unwrap();
            let data = pattern(sector.to_le_bytes()[0], 1);
            made.push(guest.make(queue, (blk::VIRTIO_BLK_T_OUT, sector), &data, 0));
        }
        assert!(made.len() > DEPTH);
        let of_queue = |queue| made.iter().filter(move |made: &&Made| made.queue == queue);
        for queue in 0..3 {
            let mut heads: Vec<_> = of_queue(queue).map(|made| (made.head.into(), 1)).collect();
            let mut used = guest.serve(queue, heads.len());
            used.sort_unstable();
            heads.sort_unstable();
            assert_eq!(used, heads);
        }
        for (sector, made) in (0_u64..).zip(&made) {
            assert_eq!(guest.status(made), OK);
            let data = pattern(sector.to_le_bytes()[0], 1);
            assert_eq!(guest.content(sector, 1), data);
        }
    }
}

#[test]
fn every_queue_is_served() {
    for engine in engines() {
        let config = DiskConfig {
            queues: 3,
            ..disk_config()
        };
        let mut guest = Guest::new(config, engine, |offered| offered);
        for queue in [2_usize, 0, 1] {
            let data = pattern(queue.to_le_bytes()[0], 1);
            let made = guest.make(queue, (blk::VIRTIO_BLK_T_OUT, queue as u64), &data, 0);
            assert_eq!(guest.serve(queue, 1), [(u32::from(made.head), 1)]);
            assert_eq!(guest.content(queue as u64, 1), data);
        }
    }
}

#[test]
fn without_flushes_writes_and_zeros_are_right_too() {
    for engine in engines() {
        let no_flush = |offered| offered & !(1 << blk::VIRTIO_BLK_F_FLUSH);
        let mut guest = Guest::new(disk_config(), engine, no_flush);
        assert_eq!(guest.write(3, &pattern(1, 8)), OK);
        assert_eq!(guest.content(3, 8), pattern(1, 8));
        assert_eq!(guest.clear(blk::VIRTIO_BLK_T_WRITE_ZEROES, 3, 8, 1), OK);
        assert_eq!(guest.content(3, 8), vec![0; 8 * 512]);
    }
}

#[test]
fn after_a_reset_no_request_is_under_way_and_none_is_answered() {
    each(|mut guest| {
        for round in 0..20 {
            for number in 0..16 {
                guest.make(0, (blk::VIRTIO_BLK_T_IN, number), &[], 4096);
            }
            guest.drivers[0].kick.write(1).unwrap();
            guest.disk.serve(0).unwrap();
            guest.disk.stop().unwrap();
            let answered = guest.drivers[0].used_index();
            assert_eq!(guest.engine.ready().unwrap(), [], "round {round}");
            guest.disk.serve(FINISHED).unwrap();
            assert_eq!(guest.drivers[0].used_index(), answered);
            let memory = memory();
            guest.drivers = vec![Driver::new(&memory, 0, QUEUE_SIZE, true)];
            let features = guest.disk.features().unwrap();
            guest.start(features);
        }
        assert_eq!(guest.write(0, &pattern(9, 1)), OK);
    });
}

#[test]
fn a_driver_that_breaks_its_queue_has_to_reset() {
    each(|mut guest| {
        guest.drivers[0].set_available(QUEUE_SIZE + 1);
        assert_eq!(guest.disk.serve(0).unwrap(), Served::NeedsReset);
        assert_eq!(guest.disk.serve(0).unwrap(), Served::Quiet);
        guest.disk.stop().unwrap();
    });
}

#[test]
fn requests_without_a_place_for_their_status_are_given_back() {
    each(|mut guest| {
        let driver = &mut guest.drivers[0];
        let region = driver.place(&[0; 16]);
        let wrong_way = [(region, Access::Write), (region, Access::Read)];
        let heads = [
            driver.offer(&[(region, Access::Read)]),
            driver.offer(&wrong_way),
            driver.offer_loop(region, Access::Read),
        ];
        let used = guest.serve(0, 3);
        assert_eq!(used, heads.map(|head| (u32::from(head), 0)));
        let status = guest.drivers[0].place(&[UNTOUCHED]);
        guest.drivers[0].offer(&[(status, Access::Write)]);
        assert_eq!(guest.serve(0, 1)[0].1, 1);
        assert_eq!(guest.drivers[0].read(status), [ERROR]);
    });
}

#[test]
fn headers_and_data_are_cut_as_the_driver_likes() {
    each(|mut guest| {
        let data = pattern(3, 2);
        let mut bytes = blk::VIRTIO_BLK_T_OUT.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(&data);
        for cut in [1040, 16, 1000, 9, 700] {
            let driver = &mut guest.drivers[0];
            let mut parts: Vec<_> = bytes
                .chunks(cut)
                .map(|part| (driver.place(part), Access::Read))
                .collect();
            let status = driver.place(&[UNTOUCHED]);
            parts.push((status, Access::Write));
            driver.offer_indirect(&parts);
            guest.serve(0, 1);
            assert_eq!(guest.drivers[0].read(status), [OK], "{cut}");
            assert_eq!(guest.content(5, 2), data);
            guest.file.write_all_at(&[0; 1024], 5 * 512).unwrap();
        }
    });
}

/// What a driver does, in a model.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize, u8),
    Read(u64, usize),
    Discard(u64, u32),
    Zero(u64, u32, bool),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sector = 0..SECTORS + 2;
    let step = prop_oneof![
        4 => (sector.clone(), 1_usize..20, any::<u8>()).prop_map(|(at, n, seed)| Step::Write(at, n, seed)),
        3 => (sector.clone(), 1_usize..20).prop_map(|(at, n)| Step::Read(at, n)),
        1 => (sector.clone(), 0_u32..40).prop_map(|(at, n)| Step::Discard(at, n)),
        1 => (sector, 0_u32..40, any::<bool>()).prop_map(|(at, n, unmap)| Step::Zero(at, n, unmap)),
        1 => Just(Step::Flush),
    ];
    proptest::collection::vec(step, 1..20)
}

fn fits(at: u64, sectors: u64) -> bool {
    sectors > 0 && at + sectors <= SECTORS
}

fn span(at: u64, sectors: u64) -> std::ops::Range<usize> {
    let start = usize::try_from(at * 512).unwrap();
    start..start + usize::try_from(sectors * 512).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against bytes in memory.
    #[test]
    fn a_disk_is_an_array_of_sectors(steps in steps(), ring in any::<bool>()) {
        let engine = if ring { Engine::new() } else { Engine::at_once() };
        let mut guest = Guest::new(disk_config(), engine.unwrap(), |offered| offered);
        let mut model = vec![0; span(0, SECTORS).len()];
        for step in steps {
            let (status, possible) = match step {
                Step::Write(at, sectors, seed) => {
                    let data = pattern(seed, sectors);
                    let fits = fits(at, sectors as u64);
                    if fits {
                        model[span(at, sectors as u64)].copy_from_slice(&data);
                    }
                    (guest.write(at, &data), fits)
                }
                Step::Read(at, sectors) => {
                    let (status, _, read) = guest.read(at, sectors);
                    let fits = fits(at, sectors as u64);
                    if fits {
                        prop_assert_eq!(&read, &model[span(at, sectors as u64)]);
                    }
                    (status, fits)
                }
                Step::Discard(at, sectors) | Step::Zero(at, sectors, _) => {
                    let (kind, flags) = match step {
                        Step::Zero(_, _, unmap) => (blk::VIRTIO_BLK_T_WRITE_ZEROES, u32::from(unmap)),
                        _ => (blk::VIRTIO_BLK_T_DISCARD, 0),
                    };
                    let fits = fits(at, sectors.into());
                    if fits {
                        model[span(at, sectors.into())].fill(0);
                    }
                    (guest.clear(kind, at, sectors, flags), fits)
                }
                Step::Flush => (guest.ask(blk::VIRTIO_BLK_T_FLUSH, 0, &[], 0).0, true),
            };
            prop_assert_eq!(status, if possible { OK } else { ERROR });
        }
        prop_assert_eq!(guest.content(0, 256), model);
    }

    /// Whatever is in the rings: each chain goes back once.
    #[test]
    fn nothing_that_a_driver_writes_stops_a_disk((table, heads) in hostile(128), ring in any::<bool>()) {
        let engine = if ring { Engine::new() } else { Engine::at_once() };
        let heads: Vec<_> = heads.into_iter().take(60).collect();
        let mut guest = Guest::new(disk_config(), engine.unwrap(), |offered| offered);
        // The first megabyte is where the rings are: a hostile driver may have
        // them written to, but this test reads them.
        let table: Vec<_> = table
            .iter()
            .map(|(address, length, flags, next)| (address | 0x10_0000, *length, *flags, *next))
            .collect();
        guest.drivers[0].offer_raw(&table, &heads);
        let mut used: Vec<_> = guest.serve(0, heads.len()).iter().map(|(head, _)| *head).collect();
        used.sort_unstable();
        let mut heads: Vec<_> = heads.iter().map(|head| u32::from(*head)).collect();
        heads.sort_unstable();
        prop_assert_eq!(used, heads);
    }
}
