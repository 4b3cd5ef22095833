//! The virtio-serial port to the caller.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::host::PORT;

const PORTS: &str = "/sys/class/virtio-ports";

/// The driver learns of its ports from the device, a moment after the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end that events are written to.
pub(super) struct Port(File);

/// Both directions.
pub(super) fn open() -> io::Result<(File, Port)> {
    let deadline = Instant::now() + PATIENCE;
    let path = loop {
        match find()? {
            Some(path) => break path,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "no port of the lab",
                ));
            }
        }
    };
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok((file.try_clone()?, Port(file)))
}

impl Port {
    /// In one write: each is an exit of the machine.
    pub(super) fn write_line(&self, line: &str) -> io::Result<()> {
        (&self.0).write_all(format!("{line}\n").as_bytes())
    }
}

fn find() -> io::Result<Option<PathBuf>> {
    let ports = match std::fs::read_dir(PORTS) {
        Ok(ports) => ports,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for port in ports {
        let port = port?;
        // A port that has no name yet, or none at all, is not this one.
        let name = std::fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT {
            return Ok(Some(PathBuf::from("/dev").join(port.file_name())));
        }
    }
    Ok(None)
}
