//! FUSE messages, as `include/uapi/linux/fuse.h` lays them out.

/// The root directory's node.
pub(crate) const ROOT: u64 = 1;

pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const SYMLINK: u32 = 6;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const UNLINK: u32 = 10;
pub(crate) const RENAME: u32 = 12;
pub(crate) const OPEN: u32 = 14;
pub(crate) const GETXATTR: u32 = 22;
pub(crate) const INIT: u32 = 26;
pub(crate) const OPENDIR: u32 = 27;
pub(crate) const READDIR: u32 = 28;
pub(crate) const BATCH_FORGET: u32 = 42;

const HEADER: usize = 40;

/// A request with an honest header.
pub(crate) fn request(operation: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(operation.to_le_bytes());
    bytes.extend(7u64.to_le_bytes());
    bytes.extend(node.to_le_bytes());
    // User, group, process; extensions.
    bytes.extend([0; 16]);
    bytes.extend(body);
    bytes
}

/// Version 7.38, with no feature asked for.
pub(crate) fn init() -> Vec<u8> {
    request(INIT, 0, &words(&[7, 38, 0, 0]))
}

pub(crate) fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The strings, each with the zero byte that ends it.
pub(crate) fn names(names: &[&str]) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| name.bytes().chain([0]))
        .collect()
}

/// The error number of a reply, 0 for none.
pub(crate) fn error(reply: &[u8]) -> i32 {
    -i32::from_le_bytes(field(reply, 4))
}

/// The node of a reply to LOOKUP, MKNOD, MKDIR or SYMLINK.
pub(crate) fn node(reply: &[u8]) -> u64 {
    u64::from_le_bytes(field(reply, 16))
}

/// The host's inode number in such a reply.
pub(crate) fn inode(reply: &[u8]) -> u64 {
    u64::from_le_bytes(field(reply, 56))
}

/// The handle of a reply to OPEN or OPENDIR.
pub(crate) fn handle(reply: &[u8]) -> u64 {
    node(reply)
}

fn field<const N: usize>(reply: &[u8], at: usize) -> [u8; N] {
    reply
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0xff; N])
}
