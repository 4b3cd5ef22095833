//! `delete`: containerd runs it when a shim is gone, orderly or not. What the
//! server's guards could not take away is taken away here.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use config::Loaded;
use containerd_shim::{Flags, socket_address};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;

use crate::sandbox::RunDir;

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
    // Without a readable configuration the state directory is the default.
    let loaded = Loaded::read(Path::new(config::DEFAULT_PATH));
    let config = loaded.unwrap_or_else(|_| Loaded::defaults()).config();
    let run_dir = RunDir::path_of(&config.state_dir, &flags.namespace, id);
    let address = socket_address(&flags.address, &flags.namespace, id);
    let socket = Path::new(address.strip_prefix("unix://").unwrap_or(&address));
    // containerd calls this for each member of a pod too, while the pod's
    // server lives under the pod's id.
    if std::os::unix::net::UnixStream::connect(socket).is_err() {
        let _ = fs::remove_file(socket);
        RunDir::remove_path(&run_dir);
    }
}
