//! The containerd process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Layout, Packages, Product};
use crate::harness::patient;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);

/// A running containerd; dropped, it is killed.
pub(super) struct Containerd {
    child: Child,
}

impl Containerd {
    /// Starts it and returns when it says that it is ready (`sd_notify`).
    pub(super) fn start(layout: &Layout, packages: &Packages, product: &Product) -> Result<Self> {
        let socket = layout.ready_socket();
        // Left from the containerd before this one.
        let _ = fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        let child = command(layout, packages, product)?
            .spawn()
            .with_context(|| format!("start {}", packages.bin().join("containerd").display()))?;
        let mut containerd = Self { child };
        containerd.await_ready(&ready, layout)?;
        Ok(containerd)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end; its shims go on.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("a pid is an i32")?);
        kill(pid, Signal::SIGTERM).context("send SIGTERM to containerd")?;
        let deadline = Instant::now() + patient(STOP);
        while self
            .child
            .try_wait()
            .context("wait for containerd")?
            .is_none()
        {
            ensure!(
                Instant::now() < deadline,
                "containerd does not end {STOP:?} after SIGTERM"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn await_ready(&mut self, ready: &UnixDatagram, layout: &Layout) -> Result<()> {
        ready
            .set_read_timeout(Some(Duration::from_millis(200)))
            .context("bound the wait for containerd")?;
        let deadline = Instant::now() + patient(START);
        let mut message = [0; 256];
        loop {
            match ready.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("wait for containerd"),
            }
            let ended = self.child.try_wait().context("look after containerd")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(layout.containerd_log()).unwrap_or_default();
                let state = ended.map_or("is not ready".to_owned(), |s| format!("ended: {s}"));
                bail!("containerd {state}. Its last words:\n{}", tail(&log, 10));
            }
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For device mapper's tools, which containerd runs: in a lab they make the nodes.
const WITHOUT_UDEV: &str = "DM_DISABLE_UDEV";

fn command(layout: &Layout, packages: &Packages, product: &Product) -> Result<Command> {
    let log = layout.containerd_log();
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("open {}", log.display()))?;
    let mut command = Command::new(packages.bin().join("containerd"));
    command
        .arg("--config")
        .arg(layout.containerd_config())
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| name == WITHOUT_UDEV))
        .env("PATH", search_path(layout, packages, product))
        .env("HOME", "/root")
        .env("TMPDIR", layout.tmp())
        .env(config::PATH_VARIABLE, layout.shim_config())
        .env("NOTIFY_SOCKET", layout.ready_socket())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share containerd's log")?)
        .stderr(log);
    Ok(command)
}

/// Our shim first, then containerd's programs, then the host's.
pub(super) fn search_path(layout: &Layout, packages: &Packages, product: &Product) -> OsString {
    let own = [
        product.bin.clone(),
        packages.bin(),
        packages.runc(),
        layout.programs(),
    ];
    let host = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let all = own.into_iter().chain(env::split_paths(host));
    env::join_paths(all).unwrap_or_else(|_| host.into())
}

/// The last `count` lines of `text`.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
