//! I/O ports and addresses without a device, as processors leave the guest for
//! them (kvm's api.rst, `KVM_EXIT_IO` and `KVM_EXIT_MMIO`).

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use kvm_ioctls::VcpuExit;
use monitor::exits::{Counts, Exits, Next};
use monitor::memory::{layout, ram};
use monitor::ports::{Console, EXIT, Lost, Ports};
use monitor::virtio::slots::Slots;
use vm_memory::Bytes;
use vmm_api::StopReason;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::machine::MEMORY_MIB;

const MOST_STEPS: usize = 300;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Port {
    Serial(u8),
    Keyboard,
    Exit,
    Any(u16),
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Self::Serial(offset) => 0x3f8 + u16::from(offset % 8),
            Self::Keyboard => 0x64,
            Self::Exit => EXIT,
            Self::Any(port) => port,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Out(Port, [u8; 4], u8),
    In(Port, u8),
    /// Of strings: as many bytes as a page has.
    OutMany(Port, Vec<u8>),
    Write(u64, [u8; 8], u8),
    Read(u64, u8),
    /// The kernel's word for its way to end.
    Flag(u16),
}

/// Exits as `data` says.
pub fn run(data: &[u8]) {
    let (mut reader, console) = UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let memory = ram::allocate(MEMORY_MIB).unwrap();
    let lost = Lost::default();
    let console = Console::new(Some(console.into()), lost.clone()).unwrap();
    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let exits = Exits {
        ports: Ports::new(console, interrupt, memory.clone()),
        slots: Arc::new(Slots::new().unwrap()),
        counts: Counts::default(),
    };
    let mut bytes = Unstructured::new(data);
    for _ in 0..MOST_STEPS {
        let step = match bytes.arbitrary() {
            Ok(Step::Flag(flag)) => {
                memory.write_obj(flag, layout::RESET_FLAG).unwrap();
                continue;
            }
            Ok(step) if !bytes.is_empty() => step,
            _ => break,
        };
        leave(&exits, step);
    }
    exits.ports.flush();
    let mut text = vec![0; 1 << 20];
    let read = reader.read(&mut text).unwrap_or(0);
    assert!(read as u64 + lost.bytes() < 1 << 20);
}

fn leave(exits: &Exits, step: Step) {
    match step {
        Step::Out(port, bytes, width) => {
            let bytes = &bytes[..1 + usize::from(width % 4)];
            ended(
                port.number(),
                bytes,
                &exits.handle(VcpuExit::IoOut(port.number(), bytes)),
            );
        }
        Step::OutMany(port, bytes) => {
            ended(
                port.number(),
                &bytes,
                &exits.handle(VcpuExit::IoOut(port.number(), &bytes)),
            );
        }
        Step::In(port, width) => {
            let mut bytes = [0; 4];
            let room = &mut bytes[..1 + usize::from(width % 4)];
            let next = exits.handle(VcpuExit::IoIn(port.number(), room));
            assert_eq!(next, Next::Enter);
        }
        Step::Write(address, bytes, width) => {
            let bytes = &bytes[..1 + usize::from(width % 8)];
            let next = exits.handle(VcpuExit::MmioWrite(address, bytes));
            assert_eq!(next, Next::Enter);
        }
        Step::Read(address, width) => {
            let mut bytes = [0; 8];
            let room = &mut bytes[..1 + usize::from(width % 8)];
            let next = exits.handle(VcpuExit::MmioRead(address, room));
            assert_eq!(next, Next::Enter);
        }
        Step::Flag(_) => {}
    }
}

/// A machine ends by these two ports, and by nothing else.
fn ended(port: u16, bytes: &[u8], next: &Next) {
    match next {
        Next::Enter => assert!(port != EXIT || bytes.is_empty()),
        Next::End(StopReason::Exited { status }) => {
            assert_eq!((port, Some(status)), (EXIT, bytes.first()));
        }
        Next::End(StopReason::Rebooted | StopReason::Panicked) => {
            assert_eq!((port, bytes.first()), (0x64, Some(&0xfe)));
        }
        Next::End(other) => panic!("{other:?}"),
    }
}
