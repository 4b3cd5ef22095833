//! Whether the guest's kernel and initramfs can be what they should be, so
//! that a wrong file is an error text and not a machine that stays silent.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is wrong with a file that should boot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("guest {what} {}: no such file: install it, or set {key} in the configuration", path.display())]
    Missing {
        what: &'static str,
        path: PathBuf,
        key: &'static str,
    },
    #[error("read guest {what} {}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("guest kernel {} is damaged or of another kind: {reason}; install it again", path.display())]
    Kernel { path: PathBuf, reason: String },
    #[error("guest initramfs {} is damaged or of another kind: not an uncompressed newc cpio archive; install it again", path.display())]
    Initramfs { path: PathBuf },
}

const KERNEL: Image = Image {
    what: "kernel",
    key: "guest.kernel",
};
const INITRAMFS: Image = Image {
    what: "initramfs",
    key: "guest.initramfs",
};

/// Length of an ELF64 header and of its program headers (ELF-64 Object File
/// Format 1.5, figures 2 and 6).
const EHDR: usize = 64;
const PHDR: usize = 56;
const PT_LOAD: u64 = 1;
const EM_X86_64: u64 = 62;

/// Checks that `path` is a whole x86-64 ELF executable.
pub(crate) fn check_kernel(path: &Path) -> Result<(), ImageError> {
    let file = KERNEL.open(path)?;
    let length = file.metadata().map_err(KERNEL.unreadable(path))?.len();
    let mut header = [0; EHDR];
    let read = read_up_to(&file, &mut header).map_err(KERNEL.unreadable(path))?;
    let damaged = |reason| ImageError::Kernel {
        path: path.to_owned(),
        reason,
    };
    let table = program_headers(&header, read).map_err(damaged)?;
    let mut headers = vec![0; table.count.saturating_mul(PHDR)];
    file.read_exact_at(&mut headers, table.offset)
        .map_err(|_| damaged("its program headers are missing".to_owned()))?;
    whole(&headers, length).map_err(damaged)
}

/// Checks that `path` begins like a cpio archive (cpio(5), newc).
pub(crate) fn check_initramfs(path: &Path) -> Result<(), ImageError> {
    let file = INITRAMFS.open(path)?;
    let mut magic = [0; 6];
    let read = read_up_to(&file, &mut magic).map_err(INITRAMFS.unreadable(path))?;
    match read == magic.len() && &magic == b"070701" {
        true => Ok(()),
        false => Err(ImageError::Initramfs {
            path: path.to_owned(),
        }),
    }
}

struct ProgramHeaders {
    offset: u64,
    count: usize,
}

fn program_headers(header: &[u8; EHDR], read: usize) -> Result<ProgramHeaders, String> {
    if read < EHDR || header.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit ELF file, as an uncompressed vmlinux is".to_owned());
    }
    if number(header, 18, 2) != EM_X86_64 {
        return Err("not for x86-64".to_owned());
    }
    match (number(header, 54, 2), number(header, 56, 2)) {
        (56, count @ 1..=64) => Ok(ProgramHeaders {
            offset: number(header, 32, 8),
            count: usize::try_from(count).unwrap_or(0),
        }),
        _ => Err("its ELF header is inconsistent".to_owned()),
    }
}

fn whole(headers: &[u8], length: u64) -> Result<(), String> {
    let mut loadable = 0;
    for header in headers.chunks_exact(PHDR) {
        let end = number(header, 8, 8).saturating_add(number(header, 32, 8));
        if end > length {
            return Err(format!(
                "cut off: a segment ends at byte {end}, the file at {length}"
            ));
        }
        loadable += u32::from(number(header, 0, 4) == PT_LOAD);
    }
    match loadable {
        0 => Err("nothing in it is to be loaded".to_owned()),
        _ => Ok(()),
    }
}

/// The little-endian number of `width` bytes at `offset`; 0 beyond the end.
fn number(bytes: &[u8], offset: usize, width: usize) -> u64 {
    let field = bytes.get(offset..offset + width).unwrap_or_default();
    field
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn read_up_to(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

struct Image {
    what: &'static str,
    key: &'static str,
}

impl Image {
    fn open(&self, path: &Path) -> Result<File, ImageError> {
        File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing {
                what: self.what,
                path: path.to_owned(),
                key: self.key,
            },
            _ => self.unreadable(path)(source),
        })
    }

    fn unreadable(&self, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
        move |source| ImageError::Read {
            what: self.what,
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    /// This test's own binary is a whole x86-64 ELF executable.
    fn elf() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_whole_elf_passes() {
        check_kernel(file(&elf()).path()).unwrap();
    }

    #[test]
    fn a_cut_off_kernel_is_refused() {
        let elf = elf();
        let error = check_kernel(file(&elf[..elf.len() / 3]).path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("cut off: a segment ends at byte"), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"MZ bzImage", &[0; 4096]] {
            let error = check_kernel(file(bytes).path()).unwrap_err().to_string();
            assert!(error.contains("not a 64-bit ELF file"), "{error}");
        }
        assert!(check_initramfs(file(b"\x1f\x8b").path()).is_err());
        check_initramfs(file(b"070701000").path()).unwrap();
    }

    #[test]
    fn a_missing_file_names_its_key() {
        let error = check_kernel(Path::new("/nonexistent/vmlinux"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no such file: install it, or set guest.kernel"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut elf = b"\x7fELF\x02\x01".to_vec();
            elf.extend(bytes);
            let _ = check_kernel(file(&elf).path());
        }
    }
}
