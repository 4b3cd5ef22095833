//! UNIX sockets by their names.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};

pub(crate) fn listen(path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path);
    let listener = listener.with_context(|| format!("listen at {}", path.display()))?;
    println!("listening");
    for connection in listener.incoming() {
        connection?.write_all(b"hello")?;
    }
    Ok(())
}

pub(crate) fn connect(path: &Path) -> Result<()> {
    let connection = UnixStream::connect(path);
    let mut connection = connection.with_context(|| format!("connect to {}", path.display()))?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    println!("{text}");
    Ok(())
}
