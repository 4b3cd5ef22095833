//! An initramfs in memory: cpio in its "newc" form, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` has it.

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// `/init` and `/dev/console`, without which it would have no standard streams.
pub(crate) fn initramfs(init: &[u8]) -> Vec<u8> {
    let mut archive = Vec::with_capacity(init.len() + 1024);
    append(&mut archive, "dev", DIRECTORY, (0, 0), &[]);
    append(&mut archive, "dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    append(&mut archive, "init", PROGRAM, (0, 0), init);
    append(&mut archive, "TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn append(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
    let inode = archive.len();
    let (size, name_size) = (contents.len(), name.len() + 1);
    let (major, minor) = device;
    let fields = format!(
        "070701{inode:08x}{mode:08x}{owner:08x}{owner:08x}{links:08x}{time:08x}{size:08x}\
         {on:08x}{on:08x}{major:08x}{minor:08x}{name_size:08x}{checksum:08x}{name}\0",
        owner = 0,
        links = 1,
        time = 0,
        on = 0,
        checksum = 0,
    );
    archive.extend_from_slice(fields.as_bytes());
    pad(archive);
    archive.extend_from_slice(contents);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
