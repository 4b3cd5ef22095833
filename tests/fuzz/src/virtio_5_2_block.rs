//! Disks (virtio 1.2, section 5.2), on a file of the host's.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::blk::{Disk, engine::Engine};
use nix::sys::memfd::{MFdFlags, memfd_create};
use virtio_bindings::virtio_blk as blk;
use vm_memory::{Bytes, GuestAddress};
use vmm_api::DiskConfig;

use crate::driver;
use crate::machine::Machine;
use crate::rings::Queue;

const SECTORS: u64 = 128;
const SECTOR: u64 = 512;
const QUEUES: u16 = 2;
/// What is on the disk at first.
const CONTENT: u8 = 0x5a;

/// Requests that a driver finds at the beginning of its buffers, one every 64
/// bytes, so that it need not come upon them by chance.
#[rustfmt::skip]
const REQUESTS: [u32; 8] = [
    blk::VIRTIO_BLK_T_IN, blk::VIRTIO_BLK_T_OUT, blk::VIRTIO_BLK_T_FLUSH, blk::VIRTIO_BLK_T_GET_ID,
    blk::VIRTIO_BLK_T_DISCARD, blk::VIRTIO_BLK_T_WRITE_ZEROES, 0xffff,
    blk::VIRTIO_BLK_T_SECURE_ERASE,
];

#[derive(Arbitrary)]
struct Shape {
    read_only: bool,
    sector: u8,
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
    place_requests(&machine, shape.sector.into());
    driver::drive(
        machine,
        &[128; QUEUES as usize],
        bytes.take_rest(),
        &mut |_| {},
    );
    check(&file, shape.read_only);
}

fn place_requests(machine: &Machine, sector: u64) {
    for queue in 0..QUEUES {
        let buffers = Queue::new(queue.into()).buffers();
        for (index, kind) in (0..).zip(REQUESTS) {
            let header = [u64::from(kind), sector].map(u64::to_le);
            let address = GuestAddress(buffers + 64 * index);
            machine.memory.write_obj(header, address).unwrap();
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
