//! The console device (virtio 1.2, section 5.3). Its reader reads now and then,
//! as a shim does, and never more than so much.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

use monitor::ports::{self, Lost};
use monitor::virtio::console::Console;

use crate::driver;
use crate::machine::Machine;

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let (mut reader, output) = UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let output = ports::Console::new(Some(output.into()), Lost::default()).unwrap();
    let machine = Machine::new(Box::new(Console::new(output)));
    driver::drive(machine, &[64; 2], data, &mut |bytes| {
        let mut room = vec![0; bytes.len()];
        match reader.read(&mut room) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            Ok(read) => assert!(read <= room.len()),
        }
    });
}
