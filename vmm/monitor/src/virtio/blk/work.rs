//! What a request has the host do, step by step until it is over.
//!
//! Most take one step. A transfer goes on where the last step stopped; zeros
//! are tried one way after the other, because not every file system and device
//! knows each.

use nix::errno::Errno;

use super::vectors::Vectors;

/// Bytes of zeros that a driver may have written at once: in the last of the
/// ways they are one transfer.
pub(super) const MOST_ZEROES: u64 = 32 << 20;

/// How a request went (virtio 1.2, section 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    Error = 1,
    Unsupported = 2,
}

/// A part of a disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A way to have zeros, or nothing, in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Deallocate, which reads as zeros.
    Punch,
    /// Have zeros without writing them.
    Zero,
    /// Write them.
    Write,
    /// Deallocate a device's, which reads as anything.
    Discard,
}

const DISCARD_FILE: &[Method] = &[Method::Punch];
const DISCARD_DEVICE: &[Method] = &[Method::Discard];
const ZERO: &[Method] = &[Method::Zero, Method::Write];
const ZERO_OR_UNMAP: &[Method] = &[Method::Punch, Method::Zero, Method::Write];

/// What is to be done.
pub(super) enum Work {
    Read {
        vectors: Vectors,
        offset: u64,
    },
    Write {
        vectors: Vectors,
        offset: u64,
        /// It is to survive the host's power as soon as it is over.
        durable: bool,
    },
    Clear {
        range: Range,
        /// Those that are left to try, the next one first.
        methods: &'static [Method],
        /// As of a write.
        durable: bool,
    },
    Sync,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    Over(Status),
}

impl Work {
    pub(super) fn discard(range: Range, is_device: bool) -> Self {
        let methods = match is_device {
            true => DISCARD_DEVICE,
            false => DISCARD_FILE,
        };
        Self::Clear {
            range,
            methods,
            durable: false,
        }
    }

    pub(super) fn zero(range: Range, may_unmap: bool, durable: bool) -> Self {
        let methods = match may_unmap {
            true => ZERO_OR_UNMAP,
            false => ZERO,
        };
        Self::Clear {
            range,
            methods,
            durable,
        }
    }

    /// Takes note of how a step went: bytes for a transfer.
    pub(super) fn note(&mut self, result: Result<usize, Errno>) -> Next {
        match (result, self) {
            (Err(Errno::EINTR), _) => Next::Again,
            (
                Ok(bytes),
                Self::Read { vectors, offset }
                | Self::Write {
                    vectors, offset, ..
                },
            ) => transferred(bytes, vectors, offset),
            (Ok(_), work @ Self::Clear { durable: true, .. }) => {
                *work = Self::Sync;
                Next::Again
            }
            (Ok(_), _) => Next::Over(Status::Ok),
            (Err(Errno::EOPNOTSUPP | Errno::ENOSYS), work @ Self::Clear { .. }) => {
                work.try_another_way()
            }
            (Err(_), _) => Next::Over(Status::Error),
        }
    }

    fn try_another_way(&mut self) -> Next {
        let Self::Clear {
            range,
            methods,
            durable,
        } = self
        else {
            return Next::Over(Status::Unsupported);
        };
        match methods.split_first() {
            Some((_, [])) | None => return Next::Over(Status::Unsupported),
            Some((_, [Method::Write, ..])) => {
                *self = Self::Write {
                    vectors: Vectors::zeros(range.length),
                    offset: range.offset,
                    durable: *durable,
                };
            }
            Some((_, rest)) => *methods = rest,
        }
        Next::Again
    }
}

/// Nothing at all is the end of the file, which is not where it was when the
/// disk was attached.
fn transferred(bytes: usize, vectors: &mut Vectors, offset: &mut u64) -> Next {
    if bytes == 0 {
        return Next::Over(Status::Error);
    }
    vectors.advance(bytes);
    *offset = offset.saturating_add(bytes as u64);
    match vectors.bytes() {
        0 => Next::Over(Status::Ok),
        _ => Next::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range {
        offset: 512,
        length: 1024,
    };

    fn write() -> Work {
        Work::Write {
            vectors: Vectors::zeros(100),
            offset: 7,
            durable: false,
        }
    }

    #[test]
    fn a_transfer_goes_on_until_all_is_done() {
        let mut work = write();
        assert_eq!(work.note(Ok(60)), Next::Again);
        assert_eq!(work.note(Err(Errno::EINTR)), Next::Again);
        let Work::Write { offset, .. } = &work else {
            panic!("another work");
        };
        assert_eq!(*offset, 67);
        assert_eq!(work.note(Ok(40)), Next::Over(Status::Ok));
    }

    #[test]
    fn an_end_before_the_end_is_an_error() {
        for result in [Ok(0), Err(Errno::ENOSPC), Err(Errno::EOPNOTSUPP)] {
            let mut work = write();
            assert_eq!(work.note(Ok(60)), Next::Again);
            assert_eq!(work.note(result), Next::Over(Status::Error));
        }
    }

    #[test]
    fn zeros_are_written_where_nothing_else_works() {
        let refused = Err(Errno::EOPNOTSUPP);
        for (may_unmap, refusals) in [(true, 2), (false, 1)] {
            let mut work = Work::zero(RANGE, may_unmap, false);
            for _ in 0..refusals {
                assert!(matches!(work, Work::Clear { .. }));
                assert_eq!(work.note(refused), Next::Again);
            }
            let Work::Write { offset: 512, .. } = work else {
                panic!("not written");
            };
            assert_eq!(work.note(Ok(1024)), Next::Over(Status::Ok));
        }
    }

    #[test]
    fn a_discard_that_is_not_possible_is_unsupported_and_a_failed_one_an_error() {
        for is_device in [true, false] {
            let note = |result| Work::discard(RANGE, is_device).note(result);
            assert_eq!(note(Ok(0)), Next::Over(Status::Ok));
            let refused = note(Err(Errno::EOPNOTSUPP));
            assert_eq!(refused, Next::Over(Status::Unsupported));
            assert_eq!(note(Err(Errno::EIO)), Next::Over(Status::Error));
        }
    }

    #[test]
    fn what_has_to_be_durable_is_synced_or_written_so() {
        let mut work = Work::zero(RANGE, true, true);
        assert_eq!(work.note(Ok(0)), Next::Again);
        assert!(matches!(work, Work::Sync));
        let mut work = Work::zero(RANGE, false, true);
        assert_eq!(work.note(Err(Errno::EOPNOTSUPP)), Next::Again);
        assert!(matches!(work, Work::Write { durable: true, .. }));
    }

    #[test]
    fn a_sync_is_over_or_an_error() {
        assert_eq!(Work::Sync.note(Ok(0)), Next::Over(Status::Ok));
        assert_eq!(Work::Sync.note(Err(Errno::EIO)), Next::Over(Status::Error));
    }
}
