//! Running a command at a terminal.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result};
use nix::pty::{Winsize, openpty};
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::ctr::{Ended, LIMIT};
use crate::harness::patient;

/// Runs `command` at a terminal of `rows` and `columns`, types `input`, and
/// returns what the terminal showed, without carriage returns, as its standard
/// output: each terminal on the way adds one.
///
/// # Errors
///
/// There is no terminal to be had, or the command cannot be run, or hangs.
pub async fn run(mut command: Command, rows: u16, columns: u16, input: &[u8]) -> Result<Ended> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).context("open a terminal")?;
    let end = || pty.slave.try_clone().context("share the terminal");
    command.stdin(end()?).stdout(end()?).stderr(end()?);
    let child = command.spawn().context("start a command at a terminal")?;
    // The screen ends when nobody holds the other end any more.
    drop((command, pty.slave));
    let mut screen = File::from(pty.master);
    screen.write_all(input).context("type at the terminal")?;
    let shown = spawn_blocking(move || read_to_hangup(screen));
    let output = timeout(patient(LIMIT), child.wait_with_output()).await;
    let output = output.context("the command at the terminal hangs")?;
    let mut ended = Ended::from(output.context("wait for the command at the terminal")?);
    ended.stdout = shown.await.context("read the terminal")?;
    Ok(ended)
}

/// A terminal whose other end is closed reads as an I/O error, not as an end.
fn read_to_hangup(mut screen: File) -> String {
    let mut shown = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length) = screen.read(&mut chunk) {
        if length == 0 {
            break;
        }
        shown.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&shown).replace('\r', "")
}
