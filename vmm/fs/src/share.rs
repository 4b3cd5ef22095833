//! How the share behaves: the policy of the file server, each choice with its
//! reason. `docs/decisions/0003-virtio-fs-server.md` has the longer story.

use std::fs::File;
use std::io;
use std::time::Duration;

use virtiofsd::passthrough::xattrmap::XattrMap;
use virtiofsd::passthrough::{
    CachePolicy, Config, InodeFileHandlesMode, NegotiationMode, PassthroughFs,
};

use crate::options::{Cache, Options};

/// Descriptors that the guest cannot use up: one per memory region of the VMM
/// (at most 509), kicks and calls, sockets, standard streams.
const OWN_DESCRIPTORS: u64 = 640;

/// A day, which stands for ever in FUSE answers.
const ALWAYS: Duration = Duration::from_secs(86_400);

/// `trusted.*` takes CAP_SYS_ADMIN on the host, which this process must not
/// have, and an overlay file system inside the guest needs it: it is kept under
/// another name, which the guest can neither see nor use. All other names pass.
const XATTRS: &str = ":prefix:all:trusted.:user.virtiofs.:\
                      :bad:all:user.virtiofs.:user.virtiofs.:\
                      :ok:all:::";

/// Failures to open the share.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not enough descriptors for anything but this process itself.
    #[error(
        "the limit of {limit} open files leaves none for the guest; raise it above {OWN_DESCRIPTORS}"
    )]
    Descriptors {
        /// The limit in force.
        limit: u64,
    },
    /// The table of extended attribute names.
    #[error("read the table of extended attribute names")]
    Xattrs(#[source] virtiofsd::passthrough::xattrmap::Error),
    /// The share's root directory.
    #[error("open the root directory of the share")]
    Root(#[source] io::Error),
}

/// Opens `/`, which is the share by now.
///
/// # Errors
///
/// If `descriptors`, the limit of open files, leaves none for the guest, or the
/// directory cannot be opened.
pub(crate) fn open(
    options: &Options,
    proc_self_fd: File,
    descriptors: u64,
) -> Result<PassthroughFs, Error> {
    let config = policy(
        options.cache,
        guest_descriptors(descriptors, options.threads)?,
    )?;
    PassthroughFs::new(Config {
        proc_sfd_rawfd: Some(proc_self_fd),
        ..config
    })
    .map_err(Error::Root)
}

/// Each thread may hold one descriptor that is not counted yet.
fn guest_descriptors(limit: u64, threads: usize) -> Result<u64, Error> {
    let own = OWN_DESCRIPTORS + threads as u64;
    match limit.checked_sub(own) {
        None | Some(0) => Err(Error::Descriptors { limit }),
        Some(rest) => Ok(rest),
    }
}

fn policy(cache: Cache, guest_fd_limit: u64) -> Result<Config, Error> {
    let (cache_policy, timeout) = match cache {
        Cache::Auto => (CachePolicy::Auto, Duration::from_secs(1)),
        Cache::Always => (CachePolicy::Always, ALWAYS),
        Cache::Never => (CachePolicy::Never, Duration::ZERO),
    };
    Ok(Config {
        cache_policy,
        entry_timeout: timeout,
        attr_timeout: timeout,
        root_dir: "/".to_owned(),
        guest_fd_limit,
        // One round trip lists a directory and looks its entries up. Without a
        // cache there is nowhere to keep the second half.
        readdirplus: cache != Cache::Never,
        // Volumes are file systems of their own: without this, two files could
        // share one (st_dev, st_ino) in the guest.
        announce_submounts: true,
        xattr: true,
        xattrmap: Some(XattrMap::try_from(XATTRS).map_err(Error::Xattrs)?),
        posix_acl: NegotiationMode::Auto,
        // The guest's kernel has the security labels of its own; the host's
        // are none of its business.
        security_label: NegotiationMode::Never,
        // The host drops set-user-ID bits and file capabilities upon a write,
        // so that the guest need not ask for `security.capability` each time.
        killpriv_v2: true,
        // The guest's kernel would become the authority on sizes and times, and
        // what the host or another pod writes to the same volume would be
        // missed or overwritten; a VM that is killed would lose what its
        // programs had written.
        writeback: false,
        // O_DIRECT skips the guest's cache alone. Passed on, it would stick to
        // the open file after fcntl(F_SETFL) took it off, as dd(1) does for the
        // last block, and that write would fail.
        allow_direct_io: false,
        // Without a cache a shared mapping is refused unless this is on. Pages
        // that are mapped are then the one thing that the guest keeps.
        allow_mmap: cache == Cache::Never,
        // Handles would spare one descriptor per inode, but opening them takes
        // CAP_DAC_READ_SEARCH, with which the sandbox has a hole as large as
        // the file system under a volume; and overlay, which holds the
        // containers' roots, gives none out.
        inode_file_handles: InodeFileHandlesMode::Never,
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_back() {
        assert_eq!(guest_descriptors(20_000, 4).ok(), Some(19_356));
        assert!(guest_descriptors(OWN_DESCRIPTORS, 0).is_err());
        assert!(guest_descriptors(3, 0).is_err());
    }

    #[test]
    fn never_caches_nothing() {
        let config = policy(Cache::Never, 1).unwrap();
        assert_eq!(config.entry_timeout, Duration::ZERO);
        assert_eq!(config.attr_timeout, Duration::ZERO);
        assert!(!config.readdirplus);
    }

    #[test]
    fn a_host_side_change_is_seen_within_a_second_by_default() {
        let config = policy(Cache::Auto, 1).unwrap();
        assert!(config.entry_timeout <= Duration::from_secs(1));
        assert!(config.attr_timeout <= Duration::from_secs(1));
        assert!(!config.writeback);
    }
}
