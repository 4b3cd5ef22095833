//! An initramfs with one program (cpio "newc", as the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst has it).

/// The archive with `init` as `/init`, and `/dev/console` for its output.
pub(crate) fn with_init(init: &[u8]) -> Vec<u8> {
    let mut archive = Vec::with_capacity(init.len() + 1024);
    entry(&mut archive, "dev", 0o040_755, (0, 0), &[]);
    entry(&mut archive, "dev/console", 0o020_600, (5, 1), &[]);
    entry(&mut archive, "init", 0o100_755, (0, 0), init);
    entry(&mut archive, "TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
    let inode = archive.len();
    let (size, name_size) = (data.len(), name.len() + 1);
    let (major, minor) = device;
    let header = format!(
        "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}\
         {major:08x}{minor:08x}{name_size:08x}{0:08x}",
        0, 1,
    );
    archive.extend(header.as_bytes());
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
