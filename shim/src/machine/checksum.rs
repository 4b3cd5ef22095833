//! Whether the guest's kernel and initramfs are what was installed. A kernel
//! with a hole in it may do nothing at all, for ever: no error would ever come.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A file is not what was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChecksumError {
    #[error("compare {} with its checksum", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is damaged: its CRC-32 is {actual:08x}, {} says {expected}; install it again",
        path.display(),
        checksum_of(path).display()
    )]
    Damaged {
        path: PathBuf,
        actual: u32,
        expected: String,
    },
}

/// Compares `path` with `path.crc32`, eight hexadecimal digits, if there is
/// such a file. Takes some milliseconds.
pub(crate) fn verify(path: &Path) -> Result<(), ChecksumError> {
    let failed = |source| ChecksumError::Read {
        path: path.to_owned(),
        source,
    };
    let expected = match fs::read_to_string(checksum_of(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(failed)?,
    };
    let actual = crc32(path).map_err(failed)?;
    match u32::from_str_radix(expected.trim(), 16) == Ok(actual) {
        true => Ok(()),
        false => Err(ChecksumError::Damaged {
            path: path.to_owned(),
            actual,
            expected: expected.trim().chars().take(16).collect(),
        }),
    }
}

fn checksum_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".crc32");
    name.into()
}

fn crc32(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(checksum: Option<&str>) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux");
        fs::write(&path, "123456789").unwrap();
        if let Some(checksum) = checksum {
            fs::write(checksum_of(&path), checksum).unwrap();
        }
        verify(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_compared_with_its_checksum() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(verified(Some("cbf43926\n")), Ok(()));
        let error = verified(Some("00000000\n")).unwrap_err();
        assert!(
            error.contains("is damaged: its CRC-32 is cbf43926"),
            "{error}"
        );
        assert!(error.contains("vmlinux.crc32 says 00000000"), "{error}");
        assert!(verified(Some("nonsense")).is_err());
    }

    #[test]
    fn a_file_without_one_is_somebodys_own() {
        assert_eq!(verified(None), Ok(()));
    }
}
