//! What a disk is made of: a file or a block device of the host's.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::ioctls;

/// Bytes of a sector, in which virtio counts whatever the blocks are (virtio
/// 1.2, section 5.2.4).
pub(super) const SECTOR: u64 = 512;

/// Blocks of most file systems, for which a guest's should be aligned.
const FILE_BLOCK: u32 = 4096;

/// Bytes that a guest discards at once. A block device's discard holds up the
/// thread that asks for it; a file's does not.
const MOST_DISCARD_DEVICE: u64 = 64 << 20;
const MOST_DISCARD_FILE: u64 = 2 << 30;

/// No disk can be made of it.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    /// The kernel does not say what it is.
    #[error("ask for the disk's {what}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// Answer of the kernel.
        #[source]
        source: Errno,
    },
    /// It is something else.
    #[error("a disk is a file or a block device")]
    Kind,
    /// Not even one sector.
    #[error("{bytes} bytes are no disk")]
    Small {
        /// Its size.
        bytes: u64,
    },
    /// Its blocks make no sense.
    #[error("blocks of {bytes} bytes")]
    Block {
        /// Their size.
        bytes: u32,
    },
    /// The guest is to read from what cannot be read, or to write to what
    /// cannot be written to.
    #[error("the disk is not open for {wanted}")]
    Closed {
        /// What the guest would do.
        wanted: &'static str,
    },
    /// Writes would go elsewhere, or have to be aligned as a guest cannot know.
    #[error("the disk is open with {flag}")]
    Flag {
        /// Which flag of open(2).
        flag: &'static str,
    },
}

/// The sizes that a driver should keep to, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Smallest unit that can be addressed.
    pub(super) logical: u32,
    /// Smallest that is written without reading.
    pub(super) physical: u32,
    /// From the start to the first of those.
    pub(super) misalignment: u32,
    /// A transfer at least.
    pub(super) least: u32,
    /// A transfer at best; 0 if it does not matter.
    pub(super) best: u32,
}

/// A file or block device, checked.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) file: File,
    pub(super) is_device: bool,
    /// Whole sectors.
    pub(super) sectors: u64,
    pub(super) blocks: Blocks,
    /// Bytes that can be discarded at once; none if that is not possible.
    pub(super) most_discard: Option<u64>,
}

impl Backing {
    pub(super) fn new(fd: OwnedFd, read_only: bool) -> Result<Self, BackingError> {
        let file = File::from(fd);
        check_flags(&file, read_only)?;
        let status = fstat(&file).map_err(ask("kind"))?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        match kind {
            SFlag::S_IFREG => Self::of_file(file, u64::try_from(status.st_size).unwrap_or(0)),
            SFlag::S_IFBLK => Self::of_device(file, read_only),
            _ => Err(BackingError::Kind),
        }
    }

    fn of_file(file: File, bytes: u64) -> Result<Self, BackingError> {
        Ok(Self {
            file,
            is_device: false,
            sectors: sectors(bytes)?,
            blocks: Blocks {
                logical: 512,
                physical: FILE_BLOCK,
                misalignment: 0,
                least: FILE_BLOCK,
                best: 0,
            },
            most_discard: Some(MOST_DISCARD_FILE),
        })
    }

    fn of_device(file: File, read_only: bool) -> Result<Self, BackingError> {
        let is_read_only = ioctls::is_read_only(&file).map_err(ask("write protection"))?;
        if is_read_only && !read_only {
            return Err(BackingError::Closed { wanted: "writing" });
        }
        let blocks = Blocks {
            logical: ioctls::logical_block(&file).map_err(ask("logical blocks"))?,
            physical: ioctls::physical_block(&file).map_err(ask("physical blocks"))?,
            // Not every device knows.
            misalignment: ioctls::misalignment(&file).unwrap_or(0),
            least: ioctls::least(&file).unwrap_or(0),
            best: ioctls::best(&file).unwrap_or(0),
        };
        for bytes in [blocks.logical, blocks.physical] {
            if !bytes.is_power_of_two() || bytes < 512 {
                return Err(BackingError::Block { bytes });
            }
        }
        Ok(Self {
            sectors: sectors(ioctls::size(&file).map_err(ask("size"))?)?,
            most_discard: ioctls::discards(&file).then_some(MOST_DISCARD_DEVICE),
            is_device: true,
            blocks,
            file,
        })
    }
}

fn check_flags(file: &File, read_only: bool) -> Result<(), BackingError> {
    let flags = fcntl(file, FcntlArg::F_GETFL).map_err(ask("flags"))?;
    let flags = OFlag::from_bits_retain(flags);
    for (flag, name) in [
        (OFlag::O_APPEND, "O_APPEND"),
        (OFlag::O_DIRECT, "O_DIRECT"),
        (OFlag::O_PATH, "O_PATH"),
    ] {
        if flags.contains(flag) {
            return Err(BackingError::Flag { flag: name });
        }
    }
    let wanted = match flags & OFlag::O_ACCMODE {
        OFlag::O_RDWR => return Ok(()),
        OFlag::O_RDONLY if read_only => return Ok(()),
        OFlag::O_RDONLY => "writing",
        _ => "reading",
    };
    Err(BackingError::Closed { wanted })
}

fn sectors(bytes: u64) -> Result<u64, BackingError> {
    // Offsets of files are signed.
    let most = i64::MAX.unsigned_abs();
    match bytes.min(most) / SECTOR {
        0 => Err(BackingError::Small { bytes }),
        sectors => Ok(sectors),
    }
}

fn ask(what: &'static str) -> impl FnOnce(Errno) -> BackingError {
    move |source| BackingError::Ask { what, source }
}

impl AsRawFd for Backing {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    fn opened(options: &std::fs::OpenOptions, bytes: u64) -> OwnedFd {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        options.open(file.path()).unwrap().into()
    }

    fn both() -> std::fs::OpenOptions {
        File::options().read(true).write(true).clone()
    }

    #[test]
    fn a_file_has_the_sectors_that_are_whole() {
        let backing = Backing::new(opened(&both(), 5 * 512 + 511), false).unwrap();
        assert_eq!(backing.sectors, 5);
        assert!(!backing.is_device);
        let error = Backing::new(opened(&both(), 511), false).unwrap_err();
        assert!(matches!(error, BackingError::Small { bytes: 511 }));
    }

    #[test]
    fn what_cannot_do_what_the_guest_may_is_refused() {
        let only_read = File::options().read(true).clone();
        assert!(Backing::new(opened(&only_read, 512), true).is_ok());
        let only_write = File::options().write(true).clone();
        for (options, wanted) in [(only_read, "writing"), (only_write, "reading")] {
            match Backing::new(opened(&options, 512), false) {
                Err(BackingError::Closed { wanted: missing }) => assert_eq!(missing, wanted),
                other => panic!("{other:?}"),
            }
        }
        let appending = File::options().read(true).append(true).clone();
        let path_only = both().custom_flags(libc::O_PATH).clone();
        for options in [appending, path_only] {
            let refused = Backing::new(opened(&options, 512), false);
            assert!(matches!(refused, Err(BackingError::Flag { .. })));
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        let null = both().open("/dev/null").unwrap();
        let refused = Backing::new(null.into(), false);
        assert!(matches!(refused, Err(BackingError::Kind)));
    }
}
