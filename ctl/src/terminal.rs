//! The operator's terminal: printing, raw mode, and its size.

use std::io::{self, IsTerminal, Stdin, Write, stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::cri::stream::TerminalSize;

/// Prints to standard output. That nobody reads it, as behind a `head` that
/// has seen enough, is no error.
///
/// # Errors
/// What writing meets otherwise.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// While it lives key strokes come one by one and unseen, Ctrl-C among them.
/// Dropping it brings the terminal back to how it was.
#[derive(Debug)]
pub struct RawMode {
    terminal: Stdin,
    before: Termios,
}

impl RawMode {
    /// Takes over the terminal on standard input. None where there is none.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn enter() -> io::Result<Option<Self>> {
        let terminal = stdin();
        if !terminal.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// The size of the terminal on standard output, or None where there is
/// none.
#[must_use]
pub fn terminal_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    // A terminal that nobody looks at may not have been given a size.
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then_some(TerminalSize {
        width: size.ws_col,
        height: size.ws_row,
    })
}
