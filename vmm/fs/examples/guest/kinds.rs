//! Files that are not plain: mappings, devices, pipes, sockets, nameless ones.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::ensure;
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use crate::console::Console;
use crate::data::read_write;
use crate::second::{self, Role};
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("a shared mapping", mapping),
    ("a device node", device),
    ("a named pipe", pipe),
    ("a UNIX socket", socket),
    ("O_TMPFILE is refused, as the protocol has it", nameless),
];

fn path(name: &str) -> String {
    format!("{SHARE}/{name}")
}

#[allow(unsafe_code, reason = "a mapping is raw memory")]
fn mapping(console: &mut Console) -> anyhow::Result<()> {
    const LENGTH: usize = 1 << 20;
    let file = read_write("mapped")?;
    file.set_len(LENGTH as u64)?;
    let length = NonZeroUsize::MIN.saturating_add(LENGTH - 1);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the mapping is new, as long as the file, and this process is the
    // only one that has it.
    unsafe {
        let at = mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0)?;
        let bytes = std::slice::from_raw_parts_mut(at.as_ptr().cast::<u8>(), LENGTH);
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(i % 251).unwrap_or(0);
        }
        msync(at, LENGTH, MsFlags::MS_SYNC)?;
        munmap(at, LENGTH)?;
    }
    let mut three = [0; 3];
    file.read_exact_at(&mut three, 1000)?;
    ensure!(three == [247, 248, 249], "{three:?}");
    console.ask("pattern mapped 1048576")
}

fn device(_: &mut Console) -> anyhow::Result<()> {
    mknod(
        path("null").as_str(),
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(1, 3),
    )?;
    let kind = fs::metadata(path("null"))?.file_type();
    ensure!(kind.is_char_device());
    // The guest's own device, not the host's file.
    ensure!(fs::read(path("null"))?.is_empty());
    fs::write(path("null"), "swallowed")?;
    Ok(())
}

fn pipe(_: &mut Console) -> anyhow::Result<()> {
    mkfifo(path("fifo").as_str(), Mode::from_bits_truncate(0o600))?;
    let mut writer = second::command(Role::SendToFifo, "fifo", 0)?.spawn()?;
    let received = fs::read_to_string(path("fifo"))?;
    ensure!(writer.wait()?.success() && received == "through");
    Ok(())
}

fn socket(_: &mut Console) -> anyhow::Result<()> {
    let listener = UnixListener::bind(path("socket"))?;
    let mut client = UnixStream::connect(path("socket"))?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"hello")?;
    let mut received = [0; 5];
    server.read_exact(&mut received)?;
    ensure!(&received == b"hello");
    Ok(())
}

/// The server has no FUSE_TMPFILE; programs know this answer and make a file
/// with a name instead.
fn nameless(_: &mut Console) -> anyhow::Result<()> {
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_TMPFILE);
    let answer = options.open(SHARE).map_err(|error| error.raw_os_error());
    ensure!(matches!(answer, Err(Some(libc::EOPNOTSUPP))), "{answer:?}");
    Ok(())
}
