//! `start`: answers with the address of the pod's server, which it starts
//! unless there is one.

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use config::Loaded;
use containerd_shim::{Flags, socket_address};

use crate::containerd::StartRequest;
use crate::role::Role;
use crate::{oom_score, serve, spec};

/// In the bundle of whom the server was started for.
pub(crate) const CONFIG_PATH_FILE: &str = "kata-mshv-config-path";

/// Starts the server of the pod that `flags.id` is in, or finds it.
pub(crate) fn start(flags: &Flags) -> anyhow::Result<()> {
    let request = StartRequest::read(flags).context("read containerd's request")?;
    let bundle = std::env::current_dir().context("find the bundle: the working folder")?;
    let role = role(&bundle)?;
    let group = match &role {
        Some(Role::Member { sandbox_id }) => sandbox_id,
        Some(Role::Sandbox | Role::Lone) | None => &flags.id,
    };
    let answer = match role {
        Some(_) => request.answer,
        None => request.answer.with_sandbox_api(),
    };
    let address = socket_address(&request.grpc_address, &flags.namespace, group);
    if !answers(&address) {
        let config_path = request
            .config_path
            .clone()
            .unwrap_or_else(config::default_path);
        // Refused here, a typo is an error that containerd shows.
        Loaded::read(&config_path)?;
        // `delete` is not told it: containerd runs that without the handler's options.
        fs::write(CONFIG_PATH_FILE, config_path.as_os_str().as_bytes())
            .context("write into the bundle where the configuration is")?;
        spawn(flags, &request, &address, &config_path)?;
    }
    // containerd 1.x finds the shim by this file when it has been restarted.
    fs::write("address", &address).context("write the bundle's address file")?;
    let mut stdout = std::io::stdout();
    stdout
        .write_all(&answer.encode(&address))
        .context("answer containerd")?;
    stdout.flush().context("answer containerd")
}

/// `None` for a sandbox of the Sandbox API: what it is to be comes later.
fn role(bundle: &Path) -> anyhow::Result<Option<Role>> {
    match spec::read(bundle) {
        Err(error) if error.is_missing() => Ok(None),
        read => Ok(Some(Role::of(&read?))),
    }
}

fn socket_path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

fn answers(address: &str) -> bool {
    UnixStream::connect(socket_path(address)).is_ok()
}

fn spawn(
    flags: &Flags,
    request: &StartRequest,
    address: &str,
    config_path: &PathBuf,
) -> anyhow::Result<()> {
    // The socket listens before the server runs: containerd's first request
    // waits in it, so nobody waits for the server to be ready.
    let listener = listen(socket_path(address))?;
    let program = std::env::current_exe().context("find the shim's own program")?;
    let mut command = Command::new(program);
    command
        .args([
            "-namespace",
            &flags.namespace,
            "-id",
            &flags.id,
            "-socket",
            address,
        ])
        .env(config::PATH_VARIABLE, config_path)
        .env(serve::EVENTS_ENV, &request.ttrpc_address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if flags.debug {
        command.arg("-debug");
    }
    let mapping = FdMapping {
        parent_fd: listener.into(),
        child_fd: serve::LISTENER_FD,
    };
    command
        .fd_mappings(vec![mapping])
        .context("hand the socket to the server")?;
    let server = command.spawn().context("start the shim's server")?;
    before_containerd(server.id());
    Ok(())
}

/// Has the kernel end it sooner than containerd, whose score this process has.
fn before_containerd(server: u32) {
    let ours = oom_score::of(std::process::id());
    // A server with containerd's is better than none.
    let _ = ours.and_then(|ours| oom_score::set(server, (ours + 1).min(1000)));
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let failed = || format!("listen at {}", path.display());
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(folder)
            .with_context(failed)?;
    }
    match UnixListener::bind(path) {
        // Nobody answers there: what a server that died left behind.
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            fs::remove_file(path).with_context(failed)?;
            UnixListener::bind(path).with_context(failed)
        }
        bound => bound.with_context(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_servers_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s/socket");
        drop(listen(&path).unwrap());
        assert!(!answers(path.to_str().unwrap()));
        let _listener = listen(&path).unwrap();
        assert!(answers(&format!("unix://{}", path.display())));
    }
}
