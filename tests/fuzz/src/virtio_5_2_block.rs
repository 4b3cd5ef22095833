//! Disks (virtio 1.2, section 5.2), on a file of the host's.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::blk::{Disk, engine::Engine};
use nix::sys::memfd::{MFdFlags, memfd_create};
use virtio_bindings::virtio_blk as blk;
use vmm_api::DiskConfig;

use crate::driver::{Action, Driver, Plan};
use crate::machine::Machine;
use crate::rings::Rings;

const SECTORS: u64 = 128;
const SECTOR: u64 = 512;
const QUEUES: u16 = 2;
const MOST_STEPS: usize = 100;
/// What is on the disk at first.
const CONTENT: u8 = 0x5a;

/// What there is to request, and what there is not.
#[rustfmt::skip]
const KINDS: [u32; 8] = [
    blk::VIRTIO_BLK_T_IN, blk::VIRTIO_BLK_T_OUT, blk::VIRTIO_BLK_T_FLUSH, blk::VIRTIO_BLK_T_GET_ID,
    blk::VIRTIO_BLK_T_DISCARD, blk::VIRTIO_BLK_T_WRITE_ZEROES, blk::VIRTIO_BLK_T_SECURE_ERASE, 77,
];

#[derive(Arbitrary)]
enum Step {
    /// One that a driver means (section 5.2.6).
    Request(Request),
    /// Anything else.
    Action(Action),
}

#[derive(Arbitrary)]
struct Request {
    queue: u8,
    kind: u8,
    sector: u8,
    /// In sectors, or not.
    length: u16,
    whole: bool,
    writable: bool,
    /// What a discard has for data: sector, sectors, flags.
    segment: (u8, u32, u8),
}

impl Request {
    /// Header, data and status, each in a place of its own.
    fn offer(&self, rings: &mut Rings) {
        let header = rings.place().buffers() + 0x8000;
        let (data, status) = (header + 0x100, header + 0x40);
        let kind = KINDS[usize::from(self.kind) % KINDS.len()];
        rings.write(header, &kind.to_le_bytes());
        rings.write(header + 8, &u64::from(self.sector).to_le_bytes());
        let (sector, sectors, flags) = self.segment;
        if !self.writable {
            rings.write(data, &u64::from(sector).to_le_bytes());
            rings.write(data + 8, &sectors.to_le_bytes());
            rings.write(data + 12, &u32::from(flags).to_le_bytes());
        }
        let length = match self.whole {
            true => u32::from(self.length % 32) * 512,
            false => self.length.into(),
        };
        rings.offer_located(&[
            (header, 16, false),
            (data, length, self.writable),
            (status, 1, true),
        ]);
    }
}

#[derive(Arbitrary)]
struct Shape {
    read_only: bool,
    plan: Plan,
}

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(shape) = bytes.arbitrary::<Shape>() else {
        return;
    };
    let file = disk_file();
    let config = DiskConfig {
        serial: "fuzz".into(),
        read_only: shape.read_only,
        queues: QUEUES,
    };
    // Work is over when the driver goes on: the same bytes do the same again.
    let engine = Engine::at_once().unwrap();
    let fd = file.try_clone().unwrap().into();
    let disk = Disk::new(&config, fd, engine.clone()).unwrap();
    let machine = Machine::with_disk(disk, engine);
    let mut driver = Driver::start(machine, shape.plan, &[128; QUEUES as usize]).unwrap();
    for _ in 0..MOST_STEPS {
        match bytes.arbitrary() {
            Ok(step) if !bytes.is_empty() => act(&mut driver, step),
            _ => break,
        }
    }
    driver.machine.serve().unwrap();
    check(&file, shape.read_only);
}

fn act(driver: &mut Driver, step: Step) {
    match step {
        Step::Action(action) => driver.act(action, &mut |_| {}).unwrap(),
        Step::Request(request) => {
            request.offer(driver.queue(request.queue));
            driver.machine.kick(usize::from(request.queue % 2));
            driver.machine.serve().unwrap();
        }
    }
}

/// No guest makes it longer or shorter, or writes to it where it may not.
fn check(file: &File, read_only: bool) {
    assert_eq!(file.metadata().unwrap().len(), SECTORS * SECTOR);
    if read_only {
        let mut content = vec![0; usize::try_from(SECTORS * SECTOR).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content.iter().all(|byte| *byte == CONTENT));
    }
}

fn disk_file() -> File {
    let mut file = File::from(memfd_create(c"disk", MFdFlags::MFD_CLOEXEC).unwrap());
    let content = vec![CONTENT; usize::try_from(SECTORS * SECTOR).unwrap()];
    file.write_all(&content).unwrap();
    file
}
