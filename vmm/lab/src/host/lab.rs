//! A lab before it is started: what goes into it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::archive::Archive;
use super::{Error, Machine};
use crate::message::{Ending, Program};
use crate::tail::last_lines;

const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/lab/vmlinux");

/// Of a failed program's output, in an error.
const LINES_SHOWN: usize = 40;

/// What a lab is made of. It has one processor, and its memory is taken from
/// the host as it is touched.
#[derive(Clone, Debug)]
pub struct Lab {
    pub(super) kernel: PathBuf,
    pub(super) memory_mib: u32,
    pub(super) host_files: bool,
    files: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    host: PathBuf,
    place: String,
    mode: u32,
}

/// A program's end and what it wrote.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Both streams, in the order of writing.
    pub output: String,
}

impl Lab {
    /// A lab with 3 GiB of memory, and nothing in it but this program.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kernel: std::env::var_os("KATA_MSHV_LAB_KERNEL")
                .map_or_else(|| KERNEL.into(), PathBuf::from),
            memory_mib: 3072,
            host_files: false,
            files: Vec::new(),
        }
    }

    /// The host's file `host` at `place` (absolute) with permissions `mode`.
    /// It is read when the lab starts.
    #[must_use]
    pub fn file(mut self, host: impl Into<PathBuf>, place: impl Into<String>, mode: u32) -> Self {
        self.files.push(Entry {
            host: host.into(),
            place: place.into(),
            mode,
        });
        self
    }

    /// With the host's whole file system for its root, read-only: for programs
    /// that are more than a few files. What runs there goes by the host's paths,
    /// writes below [`SCRATCH`] (which is `TMPDIR`), `/run` and `/dev/shm`, and
    /// does not see the files of [`Lab::file`].
    #[must_use]
    pub fn host_files(mut self) -> Self {
        self.host_files = true;
        self
    }

    /// With that much memory. Files are in it too.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Boots it. It ends when the machine is dropped, or this process ends.
    ///
    /// # Errors
    ///
    /// What is missing, or what the lab's console says.
    pub fn start(&self) -> Result<Machine, Error> {
        if !self.kernel.is_file() {
            return Err(Error::NoKernel {
                path: self.kernel.clone(),
            });
        }
        Machine::boot(self, &self.archive()?)
    }

    /// Starts a lab for one program; `each` gets its output line by line.
    ///
    /// # Errors
    ///
    /// Those of the lab. A program that fails is no error.
    pub fn run(&self, program: &Program, each: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
        self.start()?.run(program, each)
    }

    /// All files in memory, this program as init among them.
    fn archive(&self) -> Result<File, Error> {
        let memory = memfd_create("lab", MFdFlags::MFD_CLOEXEC)
            .map_err(|error| Error::Archive(error.into()))?;
        let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, File::from(memory)));
        // What init writes before it has mounted anything.
        archive
            .character_device("dev/console", (5, 1))
            .map_err(Error::Archive)?;
        add(&mut archive, Path::new("/proc/self/exe"), "init", 0o755)?;
        for entry in &self.files {
            add(
                &mut archive,
                &entry.host,
                relative(&entry.place)?,
                entry.mode,
            )?;
        }
        let buffer = archive.end().map_err(Error::Archive)?;
        buffer
            .into_inner()
            .map_err(|error| Error::Archive(error.into_error()))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    /// The output, if the program ended by itself with code 0.
    ///
    /// # Errors
    ///
    /// [`Error::Unsuccessful`], naming `program`.
    pub fn success(self, program: &str) -> Result<String, Error> {
        match self.ending {
            Ending::Exited(0) => Ok(self.output),
            ending => Err(Error::Unsuccessful {
                program: program.to_owned(),
                ending,
                output: last_lines(&self.output, LINES_SHOWN),
            }),
        }
    }
}

fn relative(place: &str) -> Result<&str, Error> {
    let path = place.strip_prefix('/').unwrap_or_default();
    let named = |part: &str| !matches!(part, "" | "." | "..");
    if path.split('/').all(named) {
        Ok(path)
    } else {
        Err(Error::Place {
            path: place.to_owned(),
        })
    }
}

fn add<W: io::Write>(
    archive: &mut Archive<W>,
    host: &Path,
    place: &str,
    mode: u32,
) -> Result<(), Error> {
    let unreadable = |source| Error::File {
        path: host.to_owned(),
        source,
    };
    let mut file = File::open(host).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let size = u32::try_from(metadata.len()).map_err(|_| Error::TooLarge {
        path: place.to_owned(),
        size: metadata.len(),
    })?;
    archive
        .file(place, mode, size, &mut file)
        .map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_absolute_and_lead_nowhere_else() {
        assert_eq!(relative("/a/b").unwrap(), "a/b");
        for wrong in ["a", "", "/", "/a/../b", "/a//b", "/a/", "/./a"] {
            assert!(relative(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut lab = Lab::new().file("/no/such/file", "/a", 0o644);
        lab.kernel = "/proc/self/exe".into();
        let error = lab.start().map(drop).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn a_missing_kernel_is_named_with_what_builds_it() {
        let mut lab = Lab::new();
        lab.kernel = "/no/kernel".into();
        let error = lab.start().map(drop).unwrap_err().to_string();
        assert!(
            error.contains("/no/kernel") && error.contains("build.sh"),
            "{error}"
        );
    }

    #[test]
    fn only_code_zero_is_success() {
        let outcome = |ending| Outcome {
            ending,
            output: "said".to_owned(),
        };
        assert_eq!(outcome(Ending::Exited(0)).success("/p").unwrap(), "said");
        let error = outcome(Ending::Killed(11)).success("/p").unwrap_err();
        assert!(
            error.to_string().contains("/p killed by SIGSEGV"),
            "{error}"
        );
    }
}
