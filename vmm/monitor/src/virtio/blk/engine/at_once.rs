//! Work done by the thread that asks, which waits for it.

#![allow(unsafe_code)] // Memory of the guest's is read and written by address.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::fdatasync;

use super::Order;
use crate::virtio::blk::backing::Backing;
use crate::virtio::blk::ioctls;
use crate::virtio::blk::work::{Method, Range, Work};

/// Does one step.
pub(super) fn perform(order: &Order) -> Result<usize, Errno> {
    let backing = order.backing.as_ref();
    match &order.work {
        Work::Read { vectors, offset } => {
            let step = vectors.step();
            // SAFETY: each vector is guest memory, which stays mapped for as
            // long as the order is there, and where anybody may write at any
            // time.
            transferred(unsafe {
                libc::preadv(
                    backing.as_raw_fd(),
                    step.as_ptr(),
                    count(step),
                    signed(*offset),
                )
            })
        }
        Work::Write {
            vectors,
            offset,
            durable,
        } => {
            let step = vectors.step();
            let flags = if *durable { libc::RWF_DSYNC } else { 0 };
            // SAFETY: as above; the kernel copes with what changes meanwhile.
            transferred(unsafe {
                libc::pwritev2(
                    backing.as_raw_fd(),
                    step.as_ptr(),
                    count(step),
                    signed(*offset),
                    flags,
                )
            })
        }
        Work::Clear { range, methods, .. } => clear(backing, *range, methods.first().copied()),
        Work::Sync => fdatasync(&backing.file).map(|()| 0),
    }
}

fn clear(backing: &Backing, range: Range, method: Option<Method>) -> Result<usize, Errno> {
    match method {
        Some(Method::Discard) => ioctls::discard(&backing.file, range.offset, range.length)?,
        Some(method) => {
            let mode = FallocateFlags::from_bits_retain(mode(method));
            let [offset, length] = [range.offset, range.length].map(signed);
            fallocate(&backing.file, mode, offset, length)?;
        }
        None => return Err(Errno::EOPNOTSUPP),
    }
    Ok(0)
}

/// What fallocate(2) takes for it.
pub(super) fn mode(method: Method) -> libc::c_int {
    let what = match method {
        Method::Punch => libc::FALLOC_FL_PUNCH_HOLE,
        _ => libc::FALLOC_FL_ZERO_RANGE,
    };
    what | libc::FALLOC_FL_KEEP_SIZE
}

/// No disk has an offset beyond.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn count(vectors: &[libc::iovec]) -> libc::c_int {
    libc::c_int::try_from(vectors.len()).unwrap_or(libc::c_int::MAX)
}

fn transferred(result: libc::ssize_t) -> Result<usize, Errno> {
    let bytes = Errno::result(result)?;
    usize::try_from(bytes).map_err(|_| Errno::EIO)
}
