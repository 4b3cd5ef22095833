//! What a device process answers (QEMU's docs/interop/vhost-user.rst), to a
//! front end whose driver does as it should, and otherwise. The process may be
//! in a guest's hands.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use arbitrary::{Arbitrary, Unstructured};
use monitor::virtio::device::DeviceError;
use monitor::virtio::vhost_user::{self, VhostUser};

use crate::driver::{self, Driver};
use crate::machine::Machine;

#[derive(Arbitrary, Debug)]
struct Reply {
    request: u8,
    flags: u8,
    size: Option<u32>,
    body: Vec<u8>,
}

/// Answers as the first part of `data` says, drives as the rest does.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok((is_fs, replies)) = bytes.arbitrary::<(bool, [Reply; 4])>() else {
        return;
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let process = answer(theirs, &replies);
    let (identity, most) = match is_fs {
        true => (vhost_user::fs("share").unwrap(), &[1024, 1024][..]),
        false => (vhost_user::vsock(3), &[256, 256, 16][..]),
    };
    let device = VhostUser::new(identity, ours).unwrap();
    // An error ends the machine, as it should.
    let _ = drive(Machine::new(Box::new(device)), most, bytes.take_rest());
    process.join().unwrap();
}

/// All answers at once, and then the end: nobody waits for more. What the front
/// end asks is taken for as long as it is there.
fn answer(mut process: UnixStream, replies: &[Reply]) -> JoinHandle<()> {
    for reply in replies {
        let size = reply
            .size
            .unwrap_or(u32::try_from(reply.body.len()).unwrap());
        let mut bytes = u32::from(reply.request).to_le_bytes().to_vec();
        bytes.extend(u32::from(reply.flags).to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(&reply.body);
        process.write_all(&bytes).unwrap();
    }
    process.shutdown(Shutdown::Write).unwrap();
    std::thread::spawn(move || {
        let taken = std::io::copy(&mut process, &mut std::io::sink());
        assert!(taken.is_ok() || taken.is_err_and(|error| error.kind() == CUT_OFF));
    })
}

/// The front end hung up with answers unread.
const CUT_OFF: ErrorKind = ErrorKind::ConnectionReset;

fn drive(machine: Machine, most: &[u16], data: &[u8]) -> Result<(), DeviceError> {
    let Ok((plan, actions)) = driver::parse(data) else {
        return Ok(());
    };
    let mut driver = Driver::start(machine, plan, most)?;
    for action in actions {
        driver.act(action, &mut |_| {})?;
    }
    driver.machine.serve()
}
