//! `delete`: containerd runs it when a shim is gone, orderly or not. What the
//! server's guards could not take away is taken away here.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use config::Loaded;
use containerd_shim::{Flags, socket_address};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

use crate::sandbox::RunDir;
use crate::{host_cgroup, spec, start};

/// How long a server may take to end a connection that is of no use.
const PATIENCE: Duration = Duration::from_secs(1);

/// As if killed: nobody saw how it ended.
const KILLED: u32 = 128 + 9;

/// Cleans up after the shim of `flags.id` and answers containerd.
pub(crate) fn delete(flags: &Flags) -> anyhow::Result<()> {
    let id = protocol::Id::new(flags.id.clone())?;
    clean(flags, id.as_str());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let response = DeleteResponse {
        exit_status: KILLED,
        exited_at: Some(Timestamp {
            seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
            ..Default::default()
        })
        .into(),
        ..Default::default()
    };
    std::io::stdout()
        .write_all(&response.write_to_bytes()?)
        .context("answer containerd")
}

/// The processes died with the server (their parent-death signal), mounts
/// with its namespace, taps with their descriptors: files are left.
fn clean(flags: &Flags, id: &str) {
    let bundle = Path::new(&flags.bundle);
    // Without a readable configuration the state directory is the default.
    let loaded = Loaded::read(&config_path(bundle));
    let config = loaded.unwrap_or_else(|_| Loaded::defaults()).config();
    let run_dir = RunDir::path_of(&config.state_dir, &flags.namespace, id);
    let address = socket_address(&flags.address, &flags.namespace, id);
    let socket = Path::new(address.strip_prefix("unix://").unwrap_or(&address));
    // containerd calls this for each member of a pod too, while the pod's
    // server lives under the pod's id.
    if !is_served(socket) {
        let _ = fs::remove_file(socket);
        RunDir::remove_path(&run_dir);
        if let Ok(spec) = spec::read(bundle) {
            host_cgroup::remove(&spec);
        }
    }
}

/// What the server of `bundle` was started with.
fn config_path(bundle: &Path) -> PathBuf {
    let written = fs::read(bundle.join(start::CONFIG_PATH_FILE));
    written.map_or_else(
        |_| config::default_path(),
        |path| OsString::from_vec(path).into(),
    )
}

/// Whether a server lives at `socket`.
///
/// A connection alone does not tell: the kernel makes it for as long as the
/// listening socket is open, which in a server that was killed may be a moment
/// longer than the connection whose end brought us here. A server takes it and
/// ends it when it sees our end; with the listening socket it is reset (unix(7),
/// `ECONNRESET`). One that is too busy for either is alive.
fn is_served(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let ended = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read(&mut [0]));
    !ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What `server` makes of a connection, seen from the other side.
    fn seen(server: impl FnOnce(UnixListener) + Send + 'static) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(|| server(listener));
        let seen = is_served(&path);
        server.join().unwrap();
        seen
    }

    #[test]
    fn one_that_takes_the_connection_lives() {
        assert!(seen(|listener| {
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }));
    }

    #[test]
    fn one_that_dies_before_it_takes_it_does_not() {
        assert!(!seen(|listener| {
            // The connection is there, and nobody will ever accept it.
            thread::sleep(Duration::from_millis(50));
            drop(listener);
        }));
    }

    #[test]
    fn one_that_is_busy_lives() {
        assert!(seen(|listener| {
            thread::sleep(PATIENCE + Duration::from_millis(200));
            drop(listener);
        }));
    }

    #[test]
    fn nothing_at_all_is_not_served() {
        assert!(!is_served(Path::new("/no/such/socket")));
    }
}
