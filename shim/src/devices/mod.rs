//! The device processes of a sandbox: virtio-fs and vsock, each a vhost-user
//! back end in a process of its own.

mod handover;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use config::{Devices as Settings, FsCache};
use protocol::ports;

use crate::jail::Rights;
use crate::process::{Process, Program, SpawnError};

pub(crate) use handover::Handover;

/// vsock context id of every guest: each has a device process of its own, so
/// that ids need not differ. 3 is the first that is not reserved.
pub(crate) const GUEST_CID: u32 = 3;

/// Why a device is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("open the vhost-user socket of {device}")]
    Socket {
        device: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("open a connection to kata-mshv-fs")]
    Relief(#[source] io::Error),
    #[error("open the vsock device's handover socket")]
    Handover(#[source] io::Error),
    #[error("{0}")]
    Spawn(
        #[from]
        #[source]
        SpawnError,
    ),
}

/// A running device, and the VMM's end of its vhost-user connection.
pub(crate) struct Device {
    pub(crate) process: Process,
    pub(crate) frontend: OwnedFd,
}

/// Starts the virtio-fs server of `share`, and returns with it the connection on
/// which it asks that the guest forget files.
pub(crate) fn start_fs(
    settings: &Settings,
    run_dir: &Path,
    share: &Path,
) -> Result<(Device, tokio::net::UnixStream), DeviceError> {
    let program = Program {
        name: "kata-mshv-fs",
        path: &settings.fs,
        key: "devices.fs",
        rights: Rights::Inherited,
    };
    let cache = match settings.fs_cache {
        FsCache::Auto => "auto",
        FsCache::Always => "always",
        FsCache::Never => "never",
    };
    let (listener, frontend) = vhost_user_pair(run_dir, program.name)?;
    let (relief, theirs) = relief_pair().map_err(DeviceError::Relief)?;
    let args = [
        "--listen-fd",
        "3",
        "--relief-fd",
        "4",
        "--cache",
        cache,
        "--share",
    ];
    let args = [&args.map(str::to_owned)[..], &[share.display().to_string()]].concat();
    let process = Process::spawn(&program, &args, vec![listener, theirs])?;
    Ok((Device { process, frontend }, relief))
}

/// Neither end waits for the other.
fn relief_pair() -> io::Result<(tokio::net::UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
    }
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs.into()))
}

/// Starts the vsock device. The guest's connections arrive by [`Handover`].
pub(crate) fn start_vsock(
    settings: &Settings,
    run_dir: &Path,
) -> Result<(Device, Handover), DeviceError> {
    let program = Program {
        name: "kata-mshv-vsock",
        path: &settings.vsock,
        key: "devices.vsock",
        rights: Rights::Inherited,
    };
    let (listener, frontend) = vhost_user_pair(run_dir, program.name)?;
    let (handover, theirs) = Handover::pair().map_err(DeviceError::Handover)?;
    let args = [
        "--listen-fd".to_owned(),
        "3".to_owned(),
        "--handover-fd".to_owned(),
        "4".to_owned(),
        format!("--guest-cid={GUEST_CID}"),
        format!("--port={}", ports::CONTROL),
        format!("--port={}", ports::STDIO),
    ];
    let process = Process::spawn(&program, &args, vec![listener, theirs])?;
    Ok((Device { process, frontend }, handover))
}

/// A listening socket with one connection pending, and that connection's other
/// end. The device takes a listener, QEMU a connection: neither needs the file,
/// which is gone when this returns.
fn vhost_user_pair(
    run_dir: &Path,
    device: &'static str,
) -> Result<(OwnedFd, OwnedFd), DeviceError> {
    connected_listener(run_dir).map_err(|source| DeviceError::Socket { device, source })
}

fn connected_listener(run_dir: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    // A socket's path is at most 107 bytes (unix(7)), a sandbox's folder may
    // be longer: it is named by a descriptor.
    let folder = File::open(run_dir)?;
    let path = format!("/proc/self/fd/{}/vhost-user.sock", folder.as_raw_fd());
    let listener = UnixListener::bind(&path)?;
    let connected = UnixStream::connect(&path);
    std::fs::remove_file(&path)?;
    Ok((listener.into(), connected?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn the_pair_is_connected_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        // As long as containerd's ids make it.
        let run_dir = folder.path().join("x".repeat(64)).join("y".repeat(64));
        std::fs::create_dir_all(&run_dir).unwrap();
        let (listener, frontend) = vhost_user_pair(&run_dir, "x").unwrap();
        assert_eq!(std::fs::read_dir(&run_dir).unwrap().count(), 0);

        let (mut accepted, _) = UnixListener::from(listener).accept().unwrap();
        UnixStream::from(frontend).write_all(b"hi").unwrap();
        let mut text = String::new();
        accepted.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }
}
