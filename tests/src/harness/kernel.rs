//! What a host's kernel may have or not. Cases that need it run where it is.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::node;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Parts of a card, by hardware address.
    Macvlan,
    /// Parts of a card, by address.
    Ipvlan,
    /// Packets with a tag (IEEE 802.1Q).
    Vlan,
    /// The file system of read-only images.
    Erofs,
    /// Block devices made of others.
    DeviceMapper,
    /// Files that take no memory, as those of a lab do.
    Disk,
}

/// The kernel that cases run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// This one.
    Running,
    /// The lab's, which has all of the kernel's, and no disk.
    Labs,
}

impl Kernel {
    pub(super) fn has(self, feature: Option<Feature>) -> bool {
        match (self, feature) {
            (Self::Running, Some(feature)) => feature.is_there(),
            (Self::Labs, Some(Feature::Disk)) => false,
            _ => true,
        }
    }
}

impl Feature {
    /// Whether the running kernel has it, asked once. Its module is loaded if it is
    /// one.
    fn is_there(self) -> bool {
        static FOUND: [OnceLock<bool>; 6] = [const { OnceLock::new() }; 6];
        *FOUND[self as usize].get_or_init(|| match self {
            Self::Macvlan => makes_links("macvlan"),
            Self::Ipvlan => makes_links("ipvlan"),
            Self::Vlan => makes_links("vlan id 7"),
            Self::Erofs => mounts("erofs"),
            Self::DeviceMapper => has_device_mapper(),
            Self::Disk => scratch_is_on_disk(),
        })
    }
}

/// Tries it in a network namespace of a moment's.
fn makes_links(kind: &str) -> bool {
    let script = format!(
        "ip link add card0 type veth peer name card1 && ip link add link card0 name part0 type {kind}"
    );
    node::run(&["unshare", "--net", "sh", "-c", &script]).is_ok()
}

/// A kernel without the file system says so, and not that nothing can be mounted.
fn mounts(kind: &str) -> bool {
    let nothing = Path::new("/dev/null");
    let tried = mount(
        Some(nothing),
        nothing,
        Some(kind),
        MsFlags::MS_RDONLY,
        None::<&str>,
    );
    tried != Err(Errno::ENODEV)
}

fn scratch_is_on_disk() -> bool {
    let found = statfs(&std::env::temp_dir());
    found.is_ok_and(|found| found.filesystem_type() != TMPFS_MAGIC)
}

fn has_device_mapper() -> bool {
    let devices = fs::read_to_string("/proc/misc").unwrap_or_default();
    devices.lines().any(|line| line.ends_with(" device-mapper"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_no_kernel_has_is_not_there() {
        assert!(!mounts("nosuchfs"));
    }

    #[test]
    fn the_lab_has_all_but_a_disk() {
        assert!(Kernel::Labs.has(Some(Feature::DeviceMapper)));
        assert!(!Kernel::Labs.has(Some(Feature::Disk)));
        assert!(Kernel::Running.has(None));
    }
}
