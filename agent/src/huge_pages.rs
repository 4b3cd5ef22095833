//! Huge pages that the kernel keeps for containers
//! (Documentation/admin-guide/mm/hugetlbpage.rst of Linux).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::Code;
use protocol::agent::HugePages as Wanted;
use tokio::sync::Mutex;

/// A folder for each size that the processor has: `hugepages-2048kB`.
const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Written to, memory in use is brought together (sysctl/vm.rst).
const COMPACT: &str = "/proc/sys/vm/compact_memory";

/// The kernel does not keep what it was to keep.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HugePagesError {
    #[error("this VM's processor has no huge pages of {kib} KiB")]
    NoSuchSize { kib: u64 },
    #[error(
        "of {wanted} huge pages of {kib} KiB the VM's kernel could make {made}: too much of its \
         memory is in smaller pieces; let the containers with huge pages be the pod's first, or \
         start the pod anew"
    )]
    Few { kib: u64, wanted: u64, made: u64 },
    #[error("find out what huge pages there are in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("have {count} huge pages by {}", path.display())]
    Write {
        path: PathBuf,
        count: u64,
        #[source]
        source: io::Error,
    },
    #[error("the request was lost")]
    Lost,
}

impl HugePagesError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NoSuchSize { .. } => Code::InvalidArgument,
            Self::Few { .. } => Code::ResourceExhausted,
            Self::Read { .. } | Self::Write { .. } | Self::Lost => Code::Internal,
        }
    }
}

type Result<T> = std::result::Result<T, HugePagesError>;

/// What is kept. One change at a time.
#[derive(Default)]
pub(crate) struct HugePages(Mutex<()>);

impl HugePages {
    /// Keeps what is `wanted`, and nothing of a size that is not named. All is as
    /// before where that cannot be had.
    pub(crate) async fn keep(&self, wanted: Vec<Wanted>) -> Result<()> {
        let _turn = self.0.lock().await;
        // The kernel moves memory about for it.
        let done = tokio::task::spawn_blocking(move || keep(Path::new(POOLS), &wanted)).await;
        done.unwrap_or(Err(HugePagesError::Lost))
    }
}

fn keep(pools: &Path, wanted: &[Wanted]) -> Result<()> {
    let pools = list(pools)?;
    for one in wanted.iter().filter(|one| one.count > 0) {
        let kib = one.page_size / 1024;
        if !pools.iter().any(|pool| pool.kib == kib) {
            return Err(HugePagesError::NoSuchSize { kib });
        }
    }
    let before: Vec<_> = pools.iter().map(Pool::kept).collect::<Result<_>>()?;
    let changed = change(&pools, &before, wanted);
    if changed.is_err() {
        for (pool, count) in pools.iter().zip(&before) {
            pool.set(*count)?;
        }
    }
    changed
}

/// First what becomes less, so that there is memory for what becomes more.
fn change(pools: &[Pool], before: &[u64], wanted: &[Wanted]) -> Result<()> {
    let count = |pool: &Pool| {
        let all = wanted.iter().filter(|one| one.page_size / 1024 == pool.kib);
        all.map(|one| one.count).fold(0, u64::saturating_add)
    };
    let (less, more): (Vec<_>, Vec<_>) = pools
        .iter()
        .zip(before)
        .filter(|(pool, before)| count(pool) != **before)
        .partition(|(pool, before)| count(pool) < **before);
    for (pool, _) in less {
        pool.set(count(pool))?;
    }
    for (pool, _) in more {
        pool.fill(count(pool))?;
    }
    Ok(())
}

/// The pages of one size.
struct Pool {
    kib: u64,
    folder: PathBuf,
}

fn list(folder: &Path) -> Result<Vec<Pool>> {
    let failed = |source| HugePagesError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut pools = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kib = entry.file_name().to_str().and_then(kib);
        pools.extend(kib.map(|kib| Pool {
            kib,
            folder: entry.path(),
        }));
    }
    Ok(pools)
}

fn kib(folder: &str) -> Option<u64> {
    folder
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()
}

impl Pool {
    /// Has the kernel keep `count`, and brings memory together once if they
    /// come to fewer.
    fn fill(&self, count: u64) -> Result<()> {
        if self.set(count)? >= count {
            return Ok(());
        }
        // Without it the next attempt tells.
        let _ = fs::write(COMPACT, "1");
        match self.set(count)? {
            made if made >= count => Ok(()),
            made => Err(HugePagesError::Few {
                kib: self.kib,
                wanted: count,
                made,
            }),
        }
    }

    /// How many the kernel has, having been told to have `count`. More are those
    /// that are in use.
    fn set(&self, count: u64) -> Result<u64> {
        let path = self.folder.join("nr_hugepages");
        fs::write(&path, count.to_string()).map_err(|source| HugePagesError::Write {
            path,
            count,
            source,
        })?;
        self.number("nr_hugepages")
    }

    /// How many it was told to have: those in use beyond are not kept.
    fn kept(&self) -> Result<u64> {
        let surplus = self.number("surplus_hugepages")?;
        Ok(self.number("nr_hugepages")?.saturating_sub(surplus))
    }

    fn number(&self, file: &str) -> Result<u64> {
        let path = self.folder.join(file);
        let number = fs::read_to_string(&path).and_then(|text| {
            let parsed = text.trim().parse();
            parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        number.map_err(|source| HugePagesError::Read { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel's folder that takes every number.
    fn pools() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("hugepages-2048kB", "3"), ("hugepages-1048576kB", "1")] {
            let pool = folder.path().join(name);
            fs::create_dir(&pool).unwrap();
            fs::write(pool.join("nr_hugepages"), count).unwrap();
            fs::write(pool.join("surplus_hugepages"), "0\n").unwrap();
        }
        folder
    }

    fn counts(folder: &Path) -> [String; 2] {
        ["hugepages-2048kB", "hugepages-1048576kB"].map(|pool| {
            let file = folder.join(pool).join("nr_hugepages");
            fs::read_to_string(file).unwrap()
        })
    }

    fn wanted(page_size: u64, count: u64) -> Wanted {
        Wanted {
            page_size,
            count,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_named_is_given_up() {
        let folder = pools();
        keep(folder.path(), &[wanted(2 << 20, 32)]).unwrap();
        assert_eq!(counts(folder.path()), ["32", "0"]);
        keep(folder.path(), &[]).unwrap();
        assert_eq!(counts(folder.path()), ["0", "0"]);
    }

    #[test]
    fn a_size_that_the_processor_lacks_changes_nothing() {
        let folder = pools();
        let refused = keep(folder.path(), &[wanted(2 << 20, 9), wanted(64 << 10, 1)]);
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.to_string().contains("64 KiB"), "{refused}");
        assert_eq!(counts(folder.path()), ["3", "1"]);
        keep(folder.path(), &[wanted(64 << 10, 0)]).unwrap();
    }
}
