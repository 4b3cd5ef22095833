//! Who moves the packets of a machine's guest: its VMM, or the host's kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;

use config::VhostNet;
use nix::libc::{ENODEV, ENXIO};
use vmm_api::MachineConfig;

const VHOST_NET: &str = "/dev/vhost-net";

/// One for each of `count` taps, or none at all: the VMM does it as well, slower.
pub(super) fn vhost_nets(wanted: VhostNet, count: usize) -> Vec<OwnedFd> {
    match wanted {
        VhostNet::Never => Vec::new(),
        VhostNet::Auto => open_all(Path::new(VHOST_NET), count),
    }
}

fn open_all(path: &Path, count: usize) -> Vec<OwnedFd> {
    let opened: io::Result<Vec<_>> = (0..count).map(|_| open(path)).collect();
    match opened {
        Ok(files) => files.into_iter().map(OwnedFd::from).collect(),
        Err(error) if is_absence(&error) => Vec::new(),
        Err(error) => {
            let path = path.display();
            tracing::warn!("open {path}: {error}; the VMM moves the packets");
            Vec::new()
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Nobody has it: no module, or none behind the node that udev made (open(2)).
fn is_absence(error: &io::Error) -> bool {
    let no_driver = matches!(error.raw_os_error(), Some(ENXIO | ENODEV));
    no_driver || error.kind() == ErrorKind::NotFound
}

/// The machine, whose interfaces are the kernel's if it is there for all.
pub(super) fn with_vhost(machine: &MachineConfig, vhosts: &[OwnedFd]) -> MachineConfig {
    let mut machine = machine.clone();
    for net in &mut machine.nets {
        net.vhost = !vhosts.is_empty();
    }
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tap_has_its_own_where_the_host_has_it() {
        assert_eq!(open_all(Path::new("/dev/null"), 2).len(), 2);
        assert_eq!(open_all(Path::new("/dev/null"), 0).len(), 0);
    }

    #[test]
    fn a_host_without_it_is_no_error() {
        for path in ["/dev/no-such-device", "/dev/null/below"] {
            assert_eq!(open_all(Path::new(path), 2).len(), 0, "{path}");
        }
        assert!(is_absence(&io::Error::from_raw_os_error(ENODEV)));
        assert!(!is_absence(&io::Error::from_raw_os_error(24)));
    }

    #[test]
    fn it_can_be_turned_off() {
        assert_eq!(vhost_nets(VhostNet::Never, 1).len(), 0);
    }
}
